#include "device/gpu_recordings.h"

#include "device/gpu_check.h"

namespace dinfer {

void GpuRecordings::run(const Shape& shape, const std::function<void()>& body) {
  const auto [found, is_new] = graphs_.try_emplace(shape, nullptr);
  if (is_new) return body();
  if (!found->second) found->second = record(body);
  check_cuda(cudaGraphLaunch(found->second, stream_), "cudaGraphLaunch");
}

void GpuRecordings::clear() {
  for (const auto& [shape, graph] : graphs_) {
    if (graph) cudaGraphExecDestroy(graph);
  }
  graphs_.clear();
}

cudaGraphExec_t GpuRecordings::record(const std::function<void()>& body) {
  check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal),
             "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    body();
  } catch (...) {
    cudaStreamEndCapture(stream_, &graph);
    if (graph) cudaGraphDestroy(graph);
    throw;
  }
  check_cuda(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t instance = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&instance, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(made, "cudaGraphInstantiate");
  return instance;
}

}  // namespace dinfer
