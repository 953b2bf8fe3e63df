#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include <cuda_runtime.h>

namespace dinfer {

// Steps recorded as CUDA graphs. A step of a shape that is new is done as it is (kernels are chosen
// and loaded then), the second of its shape is recorded, later ones are replayed.
class GpuRecordings {
 public:
  struct Shape {
    int64_t rows = 0;
    int64_t gathered_rows = 0;
    auto operator<=>(const Shape&) const = default;
  };

  explicit GpuRecordings(cudaStream_t stream) : stream_(stream) {}
  ~GpuRecordings() { clear(); }
  GpuRecordings(const GpuRecordings&) = delete;
  GpuRecordings& operator=(const GpuRecordings&) = delete;

  // Queues what `body` does.
  void run(const Shape& shape, const std::function<void()>& body);

  // Forgets all: addresses have changed.
  void clear();

 private:
  cudaGraphExec_t record(const std::function<void()>& body);

  cudaStream_t stream_;
  std::map<Shape, cudaGraphExec_t> graphs_;  // nullptr: seen once
};

}  // namespace dinfer
