// Times the layers of a decoding step on a GPU, as one graph: the products with their norms, gates
// and residual sums, and attention between them. Prints microseconds a layer beside what reading
// the weights alone would take at the bandwidth measured in the same run.
//
//   benchmark_cuda_steps [--forms bf16,4/32/minimums,8/32] [--rows 1,8] [--context 128]
//   [--without attention]
//
// The shape is Llama-3.1-8B's, of which it takes as many layers as have 4 GiB of weights.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/dtype.h"
#include "base/error.h"
#include "benchmarks/cuda_timing.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/read_bandwidth.h"

namespace dinfer {
namespace {

using cuda::Matmul;
using cuda::PackedMatrix;
using cuda::Packing;
using cuda::require;
using cuda::Rows;

constexpr int64_t kHidden = 4096, kFfn = 14336;
constexpr int kHeads = 32, kKvHeads = 8, kHeadDim = 128, kBlock = 16;
constexpr size_t kWeightBytes = size_t{4} << 30;
constexpr int kReplays = 20, kMostRows = 256, kMostLayers = 32;

class Benchmark {
 public:
  Benchmark() {
    require(cudaStreamCreate(&handle_), "cudaStreamCreate");
    stream_ = cuda::Stream::on(handle_);
    pool_ = allocate<std::byte>(kWeightBytes);
    std::normal_distribution<float> normal;
    std::vector<float> hidden(kMostRows * kHidden);
    for (float& v : hidden) v = normal(random_);
    hidden_ = upload(hidden);
    norm_ = upload(std::vector<float>(kHidden, 1.0f));
    wide_ = allocate<float>(kMostRows * 2 * kFfn);
    mixed_ = allocate<float>(kMostRows * kHidden);
    fill(pool_, kWeightBytes, [&] { return f32_to_bf16(0.02f * normal(random_)); });
    ceiling_ = cuda::measure_read_bandwidth(stream_, pool_, kWeightBytes);
    cudaDeviceProp device;
    require(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
    fmt::print("{}: reads {:.2f} TB/s\n", device.name, ceiling_ / 1e12);
  }

  void run(const std::string& name, int rows, int context, bool with_attention) {
    make_layers(form_of(name));
    make_step(rows, context);
    const Matmul::Limits limits{rows, kFfn, 2 * kFfn, true};
    auto* workspace = allocate<std::byte>(Matmul::workspace_bytes(limits));
    Matmul matmul(stream_, limits, workspace);
    const auto step = [&] {
      for (size_t i = 0; i < layers_.size(); ++i) layer(matmul, i, rows, with_attention);
    };
    step();
    require(cudaStreamSynchronize(handle_), "cudaStreamSynchronize");
    const double seconds =
        time_as_graph(handle_, kReplays, step) / static_cast<double>(layers_.size());
    size_t bytes = 0;
    for (const PackedMatrix& m : layers_[0].all) bytes += m.bytes();
    const double alone = static_cast<double>(bytes) / ceiling_;
    fmt::print(
        "{:14} rows {:<3} context {:<6} {:7.1f} us a layer, weights alone {:6.1f}: {:.1f}%\n", name,
        rows, with_attention ? context : 0, seconds * 1e6, alone * 1e6, 100 * alone / seconds);
    std::fflush(stdout);
    cudaFree(workspace);
  }

 private:
  struct Layer {
    PackedMatrix all[4];  // qkv, output, gate_up, down
  };

  void make_layers(const PackedMatrix& form) {
    layers_.clear();
    std::normal_distribution<float> normal;
    const int64_t shapes[4][2] = {{(kHeads + 2 * kKvHeads) * kHeadDim, kHidden},
                                  {kHidden, kHeads * kHeadDim},
                                  {2 * kFfn, kHidden},
                                  {kHidden, kFfn}};
    size_t at = 0;
    while (layers_.size() < kMostLayers) {
      Layer layer;
      for (int i = 0; i < 4; ++i) {
        PackedMatrix& m = layer.all[i] = form;
        m.rows = shapes[i][0];
        m.columns = shapes[i][1];
        m.data = pool_ + at;
        at += (m.bytes() + 255) / 256 * 256;
        if (at > kWeightBytes) return;
        if (m.packing != Packing::grouped) {
          fill(m.data, m.bytes(), [&] {
            const float v = 0.02f * normal(random_);
            return m.packing == Packing::f16 ? f32_to_f16(v) : f32_to_bf16(v);
          });
        } else {
          fill(m.data, m.code_bytes(), [&] { return static_cast<uint16_t>(random_()); });
          fill(m.data + m.code_bytes(), m.bytes() - m.code_bytes(),
               [&] { return f32_to_f16(0.002f * normal(random_)); });
        }
      }
      layers_.push_back(layer);
    }
  }

  void make_step(int rows, int context) {
    std::vector<cuda::DecodePart> parts;
    std::vector<int32_t> blocks;
    for (int row = 0; row < rows; ++row) {
      parts.push_back({.row = row,
                       .position = context,
                       .begin = 0,
                       .end = context,
                       .first_block = static_cast<int32_t>(blocks.size()),
                       .rotation = 0,
                       .part = 0,
                       .parts = 1});
      for (int i = 0; i <= context / kBlock; ++i)
        blocks.push_back(static_cast<int32_t>(blocks.size()));
    }
    const size_t cache = blocks.size() * kKvHeads * kBlock * kHeadDim;
    keys_ = allocate<uint16_t>(cache * kMostLayers);
    values_ = allocate<uint16_t>(cache * kMostLayers);
    cache_ = cache;
    const int most = rows + 2 * stream_.multiprocessors / kKvHeads + 1;
    parts.resize(static_cast<size_t>(most), {.row = -1});
    step_ = {
        .parts = upload(parts),
        .most_parts = most,
        .blocks = upload(blocks),
        .partials = allocate<float>(cuda::decode_partial_floats(most, kHeads, kKvHeads, kHeadDim)),
        .arrivals = allocate<int32_t>(cuda::decode_arrivals(most, kHeads, kKvHeads))};
    angles_ = upload(std::vector<float>(static_cast<size_t>(context + 1) * kHeadDim / 2, 0.5f));
  }

  void layer(Matmul& matmul, size_t index, int rows, bool with_attention) {
    const Layer& l = layers_[index];
    const auto multiply = [&](Rows in, const float* data, const PackedMatrix& m, float* out,
                              bool add) {
      in.data = data;
      in.count = rows;
      in.columns = m.columns;
      in.stride = in.kind == Rows::Kind::gated ? 2 * m.columns : m.columns;
      matmul.multiply(in, m, {.data = out, .stride = m.rows, .add = add});
    };
    const Rows normed{.kind = Rows::Kind::normed, .norm = norm_, .epsilon = 1e-5f};
    multiply(normed, hidden_, l.all[0], wide_, false);
    if (with_attention) {
      cuda::Attention attention{.qkv = wide_,
                                .out = mixed_,
                                .keys = keys_ + index * cache_,
                                .values = values_ + index * cache_,
                                .heads = kHeads,
                                .kv_heads = kKvHeads,
                                .head_dim = kHeadDim,
                                .block_size = kBlock,
                                .scale = 0.088f,
                                .half = kHeadDim / 2};
      attention.rotations[0] = {angles_, angles_};
      cuda::attend(stream_, step_, attention);
    }
    multiply({}, mixed_, l.all[1], hidden_, true);
    multiply(normed, hidden_, l.all[2], wide_, false);
    multiply({.kind = Rows::Kind::gated, .activation = Activation::silu}, wide_, l.all[3], hidden_,
             true);
  }

  cudaStream_t handle_ = nullptr;
  cuda::Stream stream_;
  std::mt19937 random_{7};
  std::byte* pool_ = nullptr;
  float *hidden_ = nullptr, *norm_ = nullptr, *wide_ = nullptr, *mixed_ = nullptr,
        *angles_ = nullptr;
  uint16_t *keys_ = nullptr, *values_ = nullptr;
  size_t cache_ = 0;  // elements of a layer
  cuda::AttentionStep step_;
  std::vector<Layer> layers_;
  double ceiling_ = 0;
};

void benchmark(const Settings& settings) {
  const bool attends = settings.at("--without") != "attention";
  Benchmark run;
  for (const std::string& form : split(settings.at("--forms"), ','))
    for (const std::string& rows : split(settings.at("--rows"), ','))
      for (const std::string& context : split(settings.at("--context"), ','))
        run.run(form, number(rows), number(context), attends);
}

}  // namespace
}  // namespace dinfer

int main(int argc, char** argv) {
  return dinfer::run_benchmark(dinfer::benchmark, argc, argv,
                               {{"--forms", "bf16,4/32/minimums,8/32"},
                                {"--rows", "1,8"},
                                {"--context", "128"},
                                {"--without", ""}});
}
