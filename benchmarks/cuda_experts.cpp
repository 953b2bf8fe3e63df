// Times mixtures of experts on a GPU, layer after layer as one graph. Prints microseconds a layer
// beside what reading the weights of the experts that rows of no preference choose would take at
// the bandwidth measured in the same run, and the rate of arithmetic.
//
//   benchmark_cuda_experts [--shapes qwen3-30b-a3b,mixtral-8x7b] [--forms bf16,4/32/minimums,8/32]
//   [--rows 1,8,64,256,2048]
//
// It takes as many layers as have 8 GiB of weights, at least one.
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/dtype.h"
#include "base/error.h"
#include "benchmarks/cuda_timing.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/read_bandwidth.h"

namespace dinfer {
namespace {

using cuda::ExpertMixture;
using cuda::PackedMatrix;
using cuda::Packing;
using cuda::require;

constexpr size_t kWeightBytes = size_t{8} << 30;
constexpr int kReplays = 10;

struct Shape {
  const char* name;
  int64_t hidden, experts, chosen, ffn;
};
constexpr Shape kShapes[] = {{"qwen3-30b-a3b", 2048, 128, 8, 768},
                             {"mixtral-8x7b", 4096, 8, 2, 14336}};

class Benchmark {
 public:
  Benchmark() {
    require(cudaStreamCreate(&handle_), "cudaStreamCreate");
    stream_ = cuda::Stream::on(handle_);
    pool_ = allocate<std::byte>(kWeightBytes);
    ceiling_ = cuda::measure_read_bandwidth(stream_, pool_, kWeightBytes);
    cudaDeviceProp device;
    require(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
    fmt::print("{}: reads {:.2f} TB/s\n", device.name, ceiling_ / 1e12);
  }

  void run(const Shape& shape, const std::string& form, int rows) {
    const std::vector<ExpertMixture> layers = make_layers(shape, form, rows);
    auto* workspace = allocate<std::byte>(cuda::experts_workspace_bytes(layers[0]));
    const auto step = [&] {
      for (const ExpertMixture& layer : layers) cuda::mix_experts(stream_, layer, workspace);
    };
    step();
    require(cudaStreamSynchronize(handle_), "cudaStreamSynchronize");
    const auto count = static_cast<double>(layers.size());
    const double seconds = time_as_graph(handle_, kReplays, step) / count;
    const double share = static_cast<double>(shape.chosen) / static_cast<double>(shape.experts);
    const double read = 1 - std::pow(1 - share, rows);
    const auto bytes = static_cast<double>(layers[0].gate_up.bytes() + layers[0].down.bytes());
    const double alone = read * bytes / ceiling_;
    const double operations = 2.0 * rows * static_cast<double>(shape.chosen * 3 * shape.hidden) *
                              static_cast<double>(shape.ffn);
    fmt::print(
        "{:14} {:14} rows {:<5} {:8.1f} us a layer, weights alone {:7.1f}: {:.1f}%, {:.0f} "
        "TFLOP/s\n",
        shape.name, form, rows, seconds * 1e6, alone * 1e6, 100 * alone / seconds,
        operations / seconds / 1e12);
    std::fflush(stdout);
    cudaFree(workspace);
    for (float* memory : temporary_) cudaFree(memory);
    temporary_.clear();
  }

 private:
  std::vector<ExpertMixture> make_layers(const Shape& shape, const std::string& form, int rows) {
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<size_t>(rows * shape.hidden));
    for (float& v : x) v = normal(random_);
    const float* in = temporary(x);
    float* out = temporary(x);
    const float* norm = temporary(std::vector<float>(static_cast<size_t>(shape.hidden), 1.0f));
    std::vector<ExpertMixture> layers;
    size_t at = 0;
    const auto stack = [&](int64_t matrix_rows, int64_t columns) {
      PackedMatrix m = form_of(form);
      m.rows = shape.experts * matrix_rows;
      m.columns = columns;
      m.data = pool_ + at;
      at += (m.bytes() + 255) / 256 * 256;
      return m;
    };
    for (size_t end = 0; end <= kWeightBytes;) {
      std::vector<float> scores(static_cast<size_t>(shape.experts * shape.hidden));
      for (float& v : scores) v = 0.02f * normal(random_);
      PackedMatrix router{.packing = Packing::f32, .rows = shape.experts, .columns = shape.hidden};
      router.data = reinterpret_cast<std::byte*>(temporary(scores));
      const size_t begin = at;
      layers.push_back({.in = in,
                        .rows = rows,
                        .hidden = shape.hidden,
                        .norm = norm,
                        .epsilon = 1e-5f,
                        .router = router,
                        .gate_up = stack(2 * shape.ffn, shape.hidden),
                        .down = stack(shape.hidden, shape.ffn),
                        .experts = shape.experts,
                        .chosen = shape.chosen,
                        .out = out,
                        .out_columns = shape.hidden});
      if (at > kWeightBytes)
        fail(ExitCode::usage, "{}: a layer has more than the pool", shape.name);
      end = at + (at - begin);
    }
    if (filled_ != shape.name + form) fill_weights(layers);
    filled_ = shape.name + form;
    return layers;
  }

  void fill_weights(const std::vector<ExpertMixture>& layers) {
    std::normal_distribution<float> normal;
    for (const ExpertMixture& layer : layers) {
      for (const PackedMatrix& m : {layer.gate_up, layer.down}) {
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
    }
  }

  float* temporary(const std::vector<float>& values) {
    temporary_.push_back(upload(values));
    return temporary_.back();
  }

  cudaStream_t handle_ = nullptr;
  cuda::Stream stream_;
  std::mt19937 random_{7};
  std::byte* pool_ = nullptr;
  std::vector<float*> temporary_;  // of one run
  std::string filled_;             // with weights of this shape and form
  double ceiling_ = 0;
};

const Shape& shape_of(const std::string& name) {
  for (const Shape& shape : kShapes)
    if (name == shape.name) return shape;
  fail(ExitCode::usage, "unknown shape {}", name);
}

void benchmark(const Settings& settings) {
  Benchmark run;
  for (const std::string& shape : split(settings.at("--shapes"), ','))
    for (const std::string& form : split(settings.at("--forms"), ','))
      for (const std::string& rows : split(settings.at("--rows"), ','))
        run.run(shape_of(shape), form, number(rows));
}

}  // namespace
}  // namespace dinfer

int main(int argc, char** argv) {
  return dinfer::run_benchmark(dinfer::benchmark, argc, argv,
                               {{"--shapes", "qwen3-30b-a3b,mixtral-8x7b"},
                                {"--forms", "bf16,4/32/minimums,8/32"},
                                {"--rows", "1,8,64,256,2048"}});
}
