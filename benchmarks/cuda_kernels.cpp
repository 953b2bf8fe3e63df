// Times products with weight matrices on a GPU, as decoding makes them: a chain in one graph, over
// more matrices than the caches hold. Prints each beside the read bandwidth measured in the same
// run.
//
//   benchmark_cuda_kernels [--shapes 4096x14336,...] [--forms bf16,f16,4/32,4/128,8/32] [--rows
//   1,8]
//
// A shape is rows (outputs) x columns (inputs).
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/dtype.h"
#include "base/error.h"
#include "benchmarks/cuda_timing.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/read_bandwidth.h"

namespace dinfer {
namespace {

using cuda::Matmul;
using cuda::PackedMatrix;
using cuda::Packing;
using cuda::require;

constexpr size_t kPoolBytes = size_t{3} << 30;
constexpr int kReplays = 12;
constexpr int kMostLinks = 48;  // products in a chain

class Benchmark {
 public:
  Benchmark() {
    require(cudaStreamCreate(&handle_), "cudaStreamCreate");
    stream_ = cuda::Stream::on(handle_);
    pool_ = allocate<std::byte>(kPoolBytes);
    x_ = allocate<float>(kMostRows * kMostWidth);
    out_ = allocate<float>(kMostRows * kMostWidth);
    std::vector<float> x(kMostRows * kMostWidth);
    std::normal_distribution<float> normal;
    for (float& v : x) v = normal(random_);
    require(cudaMemcpy(x_, x.data(), x.size() * 4, cudaMemcpyHostToDevice), "cudaMemcpy");
    fill(pool_, kPoolBytes, [&] { return f32_to_bf16(0.02f * normal(random_)); });
    ceiling_ = cuda::measure_read_bandwidth(stream_, pool_, kPoolBytes);
    cudaDeviceProp device;
    require(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
    fmt::print("{}: reads {:.2f} TB/s\n", device.name, ceiling_ / 1e12);
  }

  void run(PackedMatrix form, const std::string& name, int64_t rows, int64_t columns,
           const std::vector<int64_t>& counts) {
    form.rows = rows;
    form.columns = columns;
    const size_t bytes = (form.bytes() + 255) / 256 * 256;
    const int links = static_cast<int>(std::clamp<size_t>(kPoolBytes / bytes, 1, kMostLinks));
    std::normal_distribution<float> normal;
    if (form.packing != Packing::grouped) {
      fill(pool_, links * bytes, [&] {
        const float v = 0.02f * normal(random_);
        return form.packing == Packing::f16 ? f32_to_f16(v) : f32_to_bf16(v);
      });
    } else {
      fill(pool_, links * bytes, [&] { return static_cast<uint16_t>(random_()); });
      for (int i = 0; i < links; ++i) {
        fill(pool_ + i * bytes + form.code_bytes(), bytes - form.code_bytes(),
             [&] { return f32_to_f16(0.02f * normal(random_)); });
      }
    }
    for (const int64_t count : counts) time(form, name, bytes, links, count);
  }

 private:
  static constexpr int64_t kMostRows = 64, kMostWidth = 131072;

  void time(PackedMatrix weight, const std::string& name, size_t bytes, int links, int64_t count) {
    const Matmul::Limits limits{count, weight.columns, weight.rows, true};
    auto* workspace = allocate<std::byte>(Matmul::workspace_bytes(limits));
    Matmul matmul(stream_, limits, workspace);
    const auto chain = [&] {
      for (int i = 0; i < links; ++i) {
        weight.data = pool_ + i * bytes;
        matmul.multiply(
            {.data = x_, .count = count, .stride = weight.columns, .columns = weight.columns},
            weight, {.data = out_, .stride = weight.rows});
      }
    };
    chain();
    require(cudaStreamSynchronize(handle_), "cudaStreamSynchronize");
    const double seconds = time_as_graph(handle_, kReplays, chain) / links;
    fmt::print("{:>6} x {:<6} {:8} rows {:<3} {:8.2f} us  {:6.0f} GB/s  {:5.1f}%\n", weight.rows,
               weight.columns, name, count, seconds * 1e6, weight.bytes() / seconds / 1e9,
               100 * weight.bytes() / seconds / ceiling_);
    std::fflush(stdout);
    cudaFree(workspace);
  }

  cudaStream_t handle_ = nullptr;
  cuda::Stream stream_;
  std::mt19937 random_{7};
  std::byte* pool_ = nullptr;
  float* x_ = nullptr;
  float* out_ = nullptr;
  double ceiling_ = 0;
};

void benchmark(const Settings& settings) {
  std::vector<int64_t> counts;
  for (const std::string& rows : split(settings.at("--rows"), ',')) counts.push_back(number(rows));
  Benchmark run;
  for (const std::string& form : split(settings.at("--forms"), ',')) {
    for (const std::string& shape : split(settings.at("--shapes"), ',')) {
      const auto sizes = split(shape, 'x');
      if (sizes.size() != 2) fail(ExitCode::usage, "not a shape: {}", shape);
      run.run(form_of(form), form, number(sizes[0]), number(sizes[1]), counts);
    }
  }
}

}  // namespace
}  // namespace dinfer

int main(int argc, char** argv) {
  return dinfer::run_benchmark(dinfer::benchmark, argc, argv,
                               {{"--shapes", "28672x4096,4096x14336,6144x4096,4096x4096,128256x4096"},
                                {"--forms", "bf16,4/32,4/128,8/32"},
                                {"--rows", "1,4,8,16"}});
}
