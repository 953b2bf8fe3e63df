// Times products with weight matrices on a GPU, as decoding makes them: a chain in one graph, over
// more matrices than the caches hold. Prints each beside the read bandwidth measured in the same
// run.
//
//   benchmark_cuda_kernels [--shapes 4096x14336,...] [--forms bf16,f16,4/32,4/128,8/32] [--rows
//   1,8]
//
// A shape is rows (outputs) x columns (inputs).
#include <algorithm>
#include <charconv>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/dtype.h"
#include "base/error.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/read_bandwidth.h"

namespace dinfer {
namespace {

using cuda::Matmul;
using cuda::PackedMatrix;
using cuda::Packing;
using cuda::require;

constexpr size_t kPoolBytes = size_t{3} << 30;
constexpr size_t kPatternBytes = size_t{1} << 22;
constexpr int kReplays = 12;
constexpr int kMostLinks = 48;  // products in a chain

std::byte* allocate(size_t bytes) {
  void* memory = nullptr;
  require(cudaMalloc(&memory, bytes), "cudaMalloc");
  return static_cast<std::byte*>(memory);
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

int64_t number(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || *end != 0) fail(ExitCode::usage, "not a number: {}", text);
  return value;
}

PackedMatrix form_of(const std::string& name) {
  if (name == "bf16") return {.packing = Packing::bf16};
  if (name == "f16") return {.packing = Packing::f16};
  const auto parts = split(name, '/');
  if (parts.size() < 2) fail(ExitCode::usage, "not a form: {}", name);
  return {.packing = Packing::grouped,
          .bits = static_cast<int>(number(parts[0])),
          .group = static_cast<int>(number(parts[1])),
          .symmetric = parts.size() == 2,  // 4/32/minimums
          .half_scales = true};
}

class Benchmark {
 public:
  Benchmark() {
    require(cudaStreamCreate(&handle_), "cudaStreamCreate");
    stream_ = cuda::Stream::on(handle_);
    pool_ = allocate(kPoolBytes);
    x_ = reinterpret_cast<float*>(allocate(sizeof(float) * kMostRows * kMostWidth));
    out_ = reinterpret_cast<float*>(allocate(sizeof(float) * kMostRows * kMostWidth));
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

  // Repeats a pattern of 16-bit numbers.
  template <class Draw>
  void fill(std::byte* memory, size_t bytes, const Draw& draw) {
    std::vector<uint16_t> pattern(std::min(kPatternBytes, bytes) / 2);
    for (uint16_t& v : pattern) v = draw();
    for (size_t at = 0; at < bytes; at += kPatternBytes) {
      require(cudaMemcpy(memory + at, pattern.data(), std::min(pattern.size() * 2, bytes - at),
                         cudaMemcpyHostToDevice),
              "cudaMemcpy");
    }
  }

  void time(PackedMatrix weight, const std::string& name, size_t bytes, int links, int64_t count) {
    const Matmul::Limits limits{count, weight.columns, weight.rows, true};
    std::byte* workspace = allocate(Matmul::workspace_bytes(limits));
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
    const double seconds = replay(chain) / links;
    fmt::print("{:>6} x {:<6} {:8} rows {:<3} {:8.2f} us  {:6.0f} GB/s  {:5.1f}%\n", weight.rows,
               weight.columns, name, count, seconds * 1e6, weight.bytes() / seconds / 1e9,
               100 * weight.bytes() / seconds / ceiling_);
    std::fflush(stdout);
    cudaFree(workspace);
  }

  // Median seconds of the chain as a graph.
  template <class Chain>
  double replay(const Chain& chain) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t program = nullptr;
    require(cudaStreamBeginCapture(handle_, cudaStreamCaptureModeThreadLocal),
            "cudaStreamBeginCapture");
    chain();
    require(cudaStreamEndCapture(handle_, &graph), "cudaStreamEndCapture");
    require(cudaGraphInstantiate(&program, graph, 0), "cudaGraphInstantiate");
    cudaEvent_t begin = nullptr, end = nullptr;
    require(cudaEventCreate(&begin), "cudaEventCreate");
    require(cudaEventCreate(&end), "cudaEventCreate");
    std::vector<float> times(kReplays);
    for (float& time : times) {
      require(cudaEventRecord(begin, handle_), "cudaEventRecord");
      require(cudaGraphLaunch(program, handle_), "cudaGraphLaunch");
      require(cudaEventRecord(end, handle_), "cudaEventRecord");
      require(cudaEventSynchronize(end), "cudaEventSynchronize");
      require(cudaEventElapsedTime(&time, begin, end), "cudaEventElapsedTime");
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    cudaGraphExecDestroy(program);
    cudaGraphDestroy(graph);
    std::sort(times.begin(), times.end());
    return times[kReplays / 2] * 1e-3;
  }

  cudaStream_t handle_ = nullptr;
  cuda::Stream stream_;
  std::mt19937 random_{7};
  std::byte* pool_ = nullptr;
  float* x_ = nullptr;
  float* out_ = nullptr;
  double ceiling_ = 0;
};

void benchmark(int argc, char** argv) {
  std::string shapes = "28672x4096,4096x14336,6144x4096,4096x4096,128256x4096";
  std::string forms = "bf16,4/32,4/128,8/32";
  std::string rows = "1,4,8,16";
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i];
    if (key != "--shapes" && key != "--forms" && key != "--rows")
      fail(ExitCode::usage, "unknown option {}", key);
    (key == "--shapes" ? shapes : key == "--forms" ? forms : rows) = argv[i + 1];
  }
  std::vector<int64_t> counts;
  for (const std::string& count : split(rows, ',')) counts.push_back(number(count));
  Benchmark run;
  for (const std::string& form : split(forms, ',')) {
    for (const std::string& shape : split(shapes, ',')) {
      const auto sizes = split(shape, 'x');
      if (sizes.size() != 2) fail(ExitCode::usage, "not a shape: {}", shape);
      run.run(form_of(form), form, number(sizes[0]), number(sizes[1]), counts);
    }
  }
}

}  // namespace
}  // namespace dinfer

int main(int argc, char** argv) {
  try {
    dinfer::benchmark(argc, argv);
    return 0;
  } catch (const dinfer::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return static_cast<int>(error.code());
  }
}
