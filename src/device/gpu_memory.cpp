#include "device/gpu_memory.h"

#include <algorithm>

#include "device/gpu_check.h"

namespace dinfer {
namespace {

constexpr size_t kSlabBytes = size_t{64} << 20;
constexpr size_t kAlignment = 256;
constexpr size_t kWord = 16;  // collectives of an odd number of bytes read the last word whole

}  // namespace

GpuMemory::GpuMemory(size_t bytes) : bytes_(bytes) {
  void* data = nullptr;
  const size_t whole = std::max<size_t>(bytes, 1) + kWord - 1;
  check_cuda(cudaMalloc(&data, whole / kWord * kWord), fmt::format("cudaMalloc({})", bytes));
  data_ = static_cast<std::byte*>(data);
  check_cuda(cudaMemset(data_, 0, bytes), "cudaMemset");
  check_cuda(cudaStreamSynchronize(nullptr), "cudaMemset");  // other streams do not wait for it
}

GpuMemory::~GpuMemory() { cudaFree(data_); }

PinnedMemory::PinnedMemory(size_t bytes) : bytes_(bytes) {
  void* data = nullptr;
  check_cuda(cudaMallocHost(&data, bytes), fmt::format("cudaMallocHost({})", bytes));
  data_ = static_cast<std::byte*>(data);
}

PinnedMemory::~PinnedMemory() { cudaFreeHost(data_); }

GpuPiece GpuArena::take(size_t bytes) {
  if (bytes > kSlabBytes / 2) {
    auto own = std::make_shared<GpuMemory>(bytes);
    return {own, own->data()};
  }
  if (!current_ || used_ + bytes > current_->bytes()) {
    current_ = std::make_shared<GpuMemory>(kSlabBytes);
    used_ = 0;
  }
  GpuPiece piece{current_, current_->data() + used_};
  used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return piece;
}

}  // namespace dinfer
