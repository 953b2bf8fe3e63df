// Times the attention of prompts on a GPU, in heads of Llama-3.1-8B's shape. Prints milliseconds of
// a layer and the rate of its products.
//
//   benchmark_cuda_prompts [--tokens 512,2048,8192] [--before 0] [--window 0] [--kv f16]
//
// So many tokens of one sequence follow so many that are in its cache, of f16 or f8 numbers.
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "benchmarks/cuda_timing.h"
#include "kernels/cuda/attention.h"

namespace dinfer {
namespace {

using cuda::require;

constexpr int kHeads = 32, kKvHeads = 8, kHeadDim = 128, kBlock = 16, kReplays = 20;

class Benchmark {
 public:
  Benchmark() {
    require(cudaStreamCreate(&handle_), "cudaStreamCreate");
    stream_ = cuda::Stream::on(handle_);
  }

  void run(int tokens, int before, int window, KvType type) {
    const int all = before + tokens, blocks = (all + kBlock - 1) / kBlock;
    const int64_t width = (kHeads + 2 * kKvHeads) * kHeadDim;
    auto* qkv = allocate<float>(tokens * width);
    auto* out = allocate<float>(int64_t{tokens} * kHeads * kHeadDim);
    const size_t cached =
        size_t{kKvHeads} * kBlock * kHeadDim * static_cast<size_t>(blocks) * bytes_of(type);
    std::vector<float> random(static_cast<size_t>(tokens) * static_cast<size_t>(width));
    for (size_t i = 0; i < random.size(); ++i) {
      random[i] = static_cast<float>(i * 2654435761u % 1024) / 512.0f - 1.0f;
    }
    const float* fresh = upload(random);
    // Attention replaces its queries.
    const auto refresh = [&] {
      require(cudaMemcpyAsync(qkv, fresh, random.size() * sizeof(float), cudaMemcpyDeviceToDevice,
                              handle_),
              "cudaMemcpyAsync");
    };
    cuda::Attention attention{.qkv = qkv,
                              .out = out,
                              .keys = allocate<std::byte>(cached),
                              .values = allocate<std::byte>(cached),
                              .type = type,
                              .heads = kHeads,
                              .kv_heads = kKvHeads,
                              .head_dim = kHeadDim,
                              .block_size = kBlock,
                              .window = window,
                              .scale = 0.088f,
                              .half = kHeadDim / 2};
    auto* angles = upload(std::vector<float>(static_cast<size_t>(all) * kHeadDim / 2, 0.5f));
    attention.rotations[0] = {angles, angles};
    const cuda::AttentionStep step = make_step(tokens, before, blocks);
    const double seconds = time_as_graph(handle_, kReplays,
                                         [&] {
                                           refresh();
                                           cuda::attend_prompts(stream_, step, attention);
                                         }) -
                           time_as_graph(handle_, kReplays, refresh);
    double products = 0;
    for (int position = before; position < all; ++position) {
      products +=
          4.0 * kHeads * kHeadDim * (window > 0 ? std::min(window, position + 1) : position + 1);
    }
    fmt::print("{:>6} tokens after {:<6} window {:<5} {:8.3f} ms  {:6.0f} TFLOP/s\n", tokens,
               before, window, seconds * 1e3, products / seconds / 1e12);
    std::fflush(stdout);
  }

 private:
  cuda::AttentionStep make_step(int tokens, int before, int blocks) const {
    std::vector<cuda::PromptRow> rows;
    std::vector<cuda::PromptTile> tiles;
    std::vector<int32_t> table;
    for (int i = 0; i < blocks; ++i) table.push_back(i);
    for (int i = 0; i < tokens; ++i) rows.push_back({.row = i, .position = before + i});
    const int most = cuda::prompt_tile_tokens(stream_, kHeadDim, kHeads / kKvHeads);
    for (int i = 0; i < tokens; i += most) {
      tiles.push_back({.row = i, .tokens = std::min(most, tokens - i), .position = before + i});
    }
    std::reverse(tiles.begin(), tiles.end());  // as in a step: those that see most first
    return {.prompt_rows = upload(rows),
            .prompt_row_count = tokens,
            .tiles = upload(tiles),
            .tile_count = static_cast<int>(tiles.size()),
            .blocks = upload(table)};
  }

  cudaStream_t handle_ = nullptr;
  cuda::Stream stream_;
};

void benchmark(const Settings& settings) {
  const KvType kv = settings.at("--kv") == "f8" ? KvType::f8 : KvType::f16;
  Benchmark run;
  for (const std::string& tokens : split(settings.at("--tokens"), ','))
    for (const std::string& before : split(settings.at("--before"), ','))
      run.run(number(tokens), number(before), number(settings.at("--window")), kv);
}

}  // namespace
}  // namespace dinfer

int main(int argc, char** argv) {
  return dinfer::run_benchmark(dinfer::benchmark, argc, argv,
                               {{"--tokens", "512,2048,8192"},
                                {"--before", "0"},
                                {"--window", "0"},
                                {"--kv", "f16"}});
}
