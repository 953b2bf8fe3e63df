#include "cli/bench_shapes.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/ranges.h>

#include "base/error.h"
#include "checkpoint/gemma_config.h"

namespace dinfer {

namespace {

// As each model's config.json on the Hugging Face hub says.
struct Shape {
  std::string_view name;
  int64_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab, max_position;
  double theta;
  bool tied_head = false, qkv_bias = false, qk_norm = false;
  int64_t gemma3_window = 0;  // 0: no Gemma 3
  double score_divisor = 0;
  int64_t experts = 0, chosen = 0;  // in all layers, each with `ffn`
};

constexpr auto kShapes = std::to_array<Shape>({
    {"smollm2-135m", 576, 30, 9, 3, 64, 1536, 49152, 8192, 1e5, true},
    {"smollm2-360m", 960, 32, 15, 5, 64, 2560, 49152, 8192, 1e5, true},
    {"smollm2-1.7b", 2048, 24, 32, 32, 64, 8192, 49152, 8192, 1.3e5, true},
    {"tinyllama-1.1b", 2048, 22, 32, 4, 64, 5632, 32000, 2048, 1e4},
    {"llama-2-7b", 4096, 32, 32, 32, 128, 11008, 32000, 4096, 1e4},
    {"llama-3.2-1b", 2048, 16, 32, 8, 64, 8192, 128256, 131072, 5e5, true},
    {"llama-3.2-3b", 3072, 28, 24, 8, 128, 8192, 128256, 131072, 5e5, true},
    {"llama-3.1-8b", 4096, 32, 32, 8, 128, 14336, 128256, 131072, 5e5},
    {"llama-3.1-70b", 8192, 80, 64, 8, 128, 28672, 128256, 131072, 5e5},
    {"mistral-7b", 4096, 32, 32, 8, 128, 14336, 32768, 32768, 1e6},
    {"qwen2.5-0.5b", 896, 24, 14, 2, 64, 4864, 151936, 32768, 1e6, true, true},
    {"qwen2.5-7b", 3584, 28, 28, 4, 128, 18944, 152064, 32768, 1e6, false, true},
    {"qwen2.5-72b", 8192, 80, 64, 8, 128, 29568, 152064, 32768, 1e6, false, true},
    {"qwen3-0.6b", 1024, 28, 16, 8, 128, 3072, 151936, 40960, 1e6, true, false, true},
    {"qwen3-8b", 4096, 36, 32, 8, 128, 12288, 151936, 40960, 1e6, false, false, true},
    {"qwen3-32b", 5120, 64, 64, 8, 128, 25600, 151936, 40960, 1e6, false, false, true},
    {"phi-3-mini", 3072, 32, 32, 32, 96, 8192, 32064, 4096, 1e4},
    {"gemma-3-1b", 1152, 26, 4, 1, 256, 6912, 262144, 32768, 1e6, true, false, true, 512},
    {"gemma-3-4b", 2560, 34, 8, 4, 256, 10240, 262208, 131072, 1e6, true, false, true, 1024},
    {"gemma-3-12b", 3840, 48, 16, 8, 256, 15360, 262208, 131072, 1e6, true, false, true, 1024},
    {"gemma-3-27b", 5376, 62, 32, 16, 128, 21504, 262208, 131072, 1e6, true, false, true, 1024,
     168},
    {"mixtral-8x7b", 4096, 32, 32, 8, 128, 14336, 32000, 32768, 1e6, false, false, false, 0, 0, 8,
     2},
    {"qwen3-30b-a3b", 2048, 48, 32, 4, 128, 768, 151936, 40960, 1e6, false, false, true, 0, 0, 128,
     8},
});

}  // namespace

bool is_published_shape(const std::string& name) {
  return std::ranges::find(kShapes, name, &Shape::name) != kShapes.end();
}

ModelConfig published_shape(const std::string& name) {
  for (const Shape& shape : kShapes) {
    if (shape.name != name) continue;
    ModelConfig config;
    config.architecture = shape.name;
    config.hidden = shape.hidden;
    config.layers = shape.layers;
    config.heads = shape.heads;
    config.kv_heads = shape.kv_heads;
    config.head_dim = shape.head_dim;
    config.ffn = shape.ffn;
    config.vocab = shape.vocab;
    config.max_position = shape.max_position;
    config.tied_head = shape.tied_head;
    config.qkv_bias = shape.qkv_bias;
    config.qk_norm = shape.qk_norm;
    config.experts = {.count = shape.experts,
                      .chosen = shape.chosen,
                      .ffn = shape.experts > 0 ? shape.ffn : 0,
                      .layers = std::vector<bool>(static_cast<size_t>(shape.layers), true)};
    config.rope.theta = shape.theta;
    config.window.assign(static_cast<size_t>(shape.layers), 0);
    config.score_divisor = shape.score_divisor;
    if (shape.gemma3_window > 0) {
      config.window = gemma3_windows(shape.layers, shape.gemma3_window, kGemma3Period);
      set_gemma3(config);
    }
    return config;
  }
  std::vector<std::string_view> known;
  for (const Shape& shape : kShapes) known.push_back(shape.name);
  fail(ExitCode::usage, "--shape {}: unknown; known shapes: {}", name, fmt::join(known, ", "));
}

}  // namespace dinfer
