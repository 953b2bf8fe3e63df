#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <cuda_runtime.h>

#include "base/error.h"
#include "kernels/cuda/error.h"
#include "kernels/cuda/packed_matrix.h"

// What the benchmarks of CUDA kernels share: device memory, options and lists on the command line,
// and the time of work as a graph.
namespace dinfer {

// So many elements of device memory, zeroed; lasts until the process ends unless freed.
template <class T>
T* allocate(size_t count) {
  void* memory = nullptr;
  cuda::require(cudaMalloc(&memory, std::max<size_t>(count, 1) * sizeof(T)), "cudaMalloc");
  cuda::require(cudaMemset(memory, 0, count * sizeof(T)), "cudaMemset");
  return static_cast<T*>(memory);
}

template <class T>
T* upload(const std::vector<T>& values) {
  T* memory = allocate<T>(values.size());
  cuda::require(
      cudaMemcpy(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
      "cudaMemcpy");
  return memory;
}

// Repeats a pattern of 16-bit numbers that draw() gives.
template <class Draw>
void fill(std::byte* memory, size_t bytes, const Draw& draw) {
  std::vector<uint16_t> pattern(std::min<size_t>(size_t{1} << 22, bytes) / 2);
  for (uint16_t& v : pattern) v = draw();
  for (size_t at = 0; at < bytes; at += pattern.size() * 2) {
    cuda::require(cudaMemcpy(memory + at, pattern.data(), std::min(pattern.size() * 2, bytes - at),
                             cudaMemcpyHostToDevice),
                  "cudaMemcpy");
  }
}

inline std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

inline int number(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || *end != 0) fail(ExitCode::usage, "not a number: {}", text);
  return value;
}

// bf16, f16, or BITS/GROUP[/minimums] with f16 scales.
inline cuda::PackedMatrix form_of(const std::string& name) {
  if (name == "bf16") return {.packing = cuda::Packing::bf16};
  if (name == "f16") return {.packing = cuda::Packing::f16};
  const auto parts = split(name, '/');
  if (parts.size() < 2) fail(ExitCode::usage, "not a form: {}", name);
  return {.packing = cuda::Packing::grouped,
          .bits = number(parts[0]),
          .group = number(parts[1]),
          .symmetric = parts.size() == 2,
          .half_scales = true};
}

// Options with the values that they have unless the command line gives others.
using Settings = std::map<std::string, std::string>;

// What main() returns: errors go to stderr.
inline int run_benchmark(void (*benchmark)(const Settings&), int argc, char** argv,
                         Settings settings) {
  try {
    for (int i = 1; i < argc; i += 2) {
      const auto option = settings.find(argv[i]);
      if (option == settings.end()) fail(ExitCode::usage, "unknown option {}", argv[i]);
      if (i + 1 == argc) fail(ExitCode::usage, "{} needs a value", argv[i]);
      option->second = argv[i + 1];
    }
    benchmark(settings);
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return static_cast<int>(error.code());
  }
}

// Median seconds of `work`, replayed so many times as a graph.
template <class Work>
double time_as_graph(cudaStream_t stream, int replays, const Work& work) {
  using cuda::require;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t program = nullptr;
  require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
  work();
  require(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  require(cudaGraphInstantiate(&program, graph, 0), "cudaGraphInstantiate");
  cudaEvent_t begin = nullptr, end = nullptr;
  require(cudaEventCreate(&begin), "cudaEventCreate");
  require(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times(replays);
  for (float& time : times) {
    require(cudaEventRecord(begin, stream), "cudaEventRecord");
    require(cudaGraphLaunch(program, stream), "cudaGraphLaunch");
    require(cudaEventRecord(end, stream), "cudaEventRecord");
    require(cudaEventSynchronize(end), "cudaEventSynchronize");
    require(cudaEventElapsedTime(&time, begin, end), "cudaEventElapsedTime");
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(program);
  cudaGraphDestroy(graph);
  std::sort(times.begin(), times.end());
  return times[replays / 2] * 1e-3;
}

}  // namespace dinfer
