// Times the attention of decoding on a GPU as steps cut it, in heads of Llama-3.1-8B's shape.
// Prints microseconds of a layer and the rate at which it reads keys and values.
//
//   benchmark_cuda_decode_attention [--shapes 1x128,1x4096,8x4096,64x128,64x4096,256x1024]
//                                   [--kv f16]
//
// A shape is so many sequences with so many tokens each in the cache, of f16 or f8 numbers;
// SEQUENCES x FIRST-LAST spreads their lengths evenly. Layers have caches of their own, more than
// fit the L2 cache where that is possible.
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "benchmarks/cuda_timing.h"
#include "device/gpu_step.h"

namespace dinfer {
namespace {

using cuda::require;

constexpr AttentionHeads kHeads{.heads = 32, .kv_heads = 8, .head_dim = 128};
constexpr int kBlock = 16, kReplays = 20, kLayers = 32;
constexpr size_t kBeyondL2 = size_t{512} << 20;

// Sequences that decode one token each.
struct Shape {
  std::string name;
  std::vector<int64_t> contexts;

  int64_t tokens() const {
    int64_t sum = 0;
    for (const int64_t context : contexts) sum += context;
    return sum;
  }
};

Shape shape_of(const std::string& text) {
  const auto sides = split(text, 'x');
  if (sides.size() != 2) fail(ExitCode::usage, "not SEQUENCESxCONTEXT: {}", text);
  const auto ends = split(sides[1], '-');
  const int64_t count = number(sides[0]), first = number(ends.front()), last = number(ends.back());
  Shape shape{.name = text};
  for (int64_t i = 0; i < count; ++i) {
    shape.contexts.push_back(first + (count > 1 ? (last - first) * i / (count - 1) : 0));
  }
  return shape;
}

class Benchmark {
 public:
  Benchmark() {
    require(cudaStreamCreate(&handle_), "cudaStreamCreate");
    stream_ = cuda::Stream::on(handle_);
  }

  void run(const Shape& shape, KvType type) {
    GpuStep step(stream_);
    load(step, shape);
    const size_t layer_bytes = size_t{kHeads.kv_heads} * kBlock * kHeads.head_dim *
                               static_cast<size_t>(blocks_) * bytes_of(type);
    const size_t caches = std::clamp<size_t>(kBeyondL2 / (2 * layer_bytes), 1, kLayers);
    auto* keys = allocate<std::byte>(caches * layer_bytes);
    auto* values = allocate<std::byte>(caches * layer_bytes);
    const auto rows = shape.contexts.size();
    const size_t width = (kHeads.heads + 2 * kHeads.kv_heads) * kHeads.head_dim;
    cuda::Attention attention{.qkv = allocate<float>(rows * width),
                              .out = allocate<float>(rows * kHeads.heads * kHeads.head_dim),
                              .type = type,
                              .heads = kHeads.heads,
                              .kv_heads = kHeads.kv_heads,
                              .head_dim = kHeads.head_dim,
                              .block_size = kBlock,
                              .scale = 0.088f,
                              .half = kHeads.head_dim / 2};
    const auto longest = static_cast<size_t>(*std::ranges::max_element(shape.contexts));
    auto* angles = allocate<float>((longest + 1) * kHeads.head_dim / 2);
    attention.rotations[0] = {angles, angles};
    const double seconds =
        time_as_graph(handle_, kReplays,
                      [&] {
                        for (size_t layer = 0; layer < kLayers; ++layer) {
                          attention.keys = keys + layer % caches * layer_bytes;
                          attention.values = values + layer % caches * layer_bytes;
                          cuda::attend_decode(stream_, step.attention(), attention);
                        }
                      }) /
        kLayers;
    const double bytes = 2.0 * static_cast<double>(shape.tokens()) * kHeads.kv_heads *
                         kHeads.head_dim * static_cast<double>(bytes_of(type));
    fmt::print("{:>14} {:8.1f} us  {:5.2f} TB/s\n", shape.name, seconds * 1e6,
               bytes / seconds / 1e12);
    std::fflush(stdout);
    cudaFree(keys);
    cudaFree(values);
  }

 private:
  void load(GpuStep& step, const Shape& shape) {
    std::vector<SequenceChunk> chunks;
    std::vector<std::vector<int32_t>> tables;
    blocks_ = 0;
    for (const int64_t context : shape.contexts) {
      auto& table = tables.emplace_back();
      for (int64_t i = 0; i <= context / kBlock; ++i) table.push_back(blocks_++);
    }
    for (size_t i = 0; i < tables.size(); ++i) {
      chunks.push_back({.first_row = static_cast<int64_t>(i),
                        .tokens = 1,
                        .position = shape.contexts[i],
                        .blocks = tables[i]});
    }
    const std::vector<int32_t> tokens(chunks.size());
    step.load({.tokens = tokens, .chunks = chunks}, kHeads);
    require(cudaStreamSynchronize(handle_), "cudaStreamSynchronize");
  }

  cudaStream_t handle_ = nullptr;
  cuda::Stream stream_;
  int32_t blocks_ = 0;  // of one layer's cache
};

void benchmark(const Settings& settings) {
  const KvType kv = settings.at("--kv") == "f8" ? KvType::f8 : KvType::f16;
  Benchmark run;
  for (const std::string& shape : split(settings.at("--shapes"), ',')) run.run(shape_of(shape), kv);
}

}  // namespace
}  // namespace dinfer

int main(int argc, char** argv) {
  return dinfer::run_benchmark(dinfer::benchmark, argc, argv,
                               {{"--shapes", "1x128,1x4096,8x4096,64x128,64x4096,256x1024"},
                                {"--kv", "f16"}});
}
