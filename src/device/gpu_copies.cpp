#include "device/gpu_copies.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>

#include <cuda_runtime.h>

#include "base/error.h"
#include "device/gpu_check.h"
#include "device/gpu_memory.h"

namespace dinfer {
namespace {

constexpr size_t kPieceBytes = size_t{4} << 20;
constexpr int kMostThreads = 6;  // enough for the fastest bus

int thread_count() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 2, 1, kMostThreads);
}

// The rows that a piece holds, closed up to `pitch` bytes.
void spread_rows(std::byte* to, size_t pitch, const std::byte* from, size_t width, size_t rows) {
  if (pitch == width) {
    std::memcpy(to, from, rows * width);
    return;
  }
  for (size_t row = 0; row < rows; ++row, to += pitch, from += width) {
    std::memcpy(to, from, width);
    std::memset(to + width, 0, pitch - width);
  }
}

}  // namespace

// One thread's two pieces: one is filled while the GPU fetches the other.
class GpuCopies::Lane {
 public:
  Lane() {
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    for (cudaEvent_t& event : fetched_) {
      check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
    }
  }
  ~Lane() {
    for (cudaEvent_t event : fetched_) cudaEventDestroy(event);
    cudaStreamDestroy(stream_);
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  void copy_rows(std::byte* to, size_t pitch, const std::byte* from, size_t width, size_t rows) {
    check_cuda(cudaEventSynchronize(fetched_[next_]), "cudaEventSynchronize");
    std::byte* piece = pieces_.data() + next_ * kPieceBytes;
    spread_rows(piece, pitch, from, width, rows);
    check_cuda(cudaMemcpyAsync(to, piece, rows * pitch, cudaMemcpyHostToDevice, stream_),
               "cudaMemcpyAsync");
    check_cuda(cudaEventRecord(fetched_[next_], stream_), "cudaEventRecord");
    next_ ^= 1;
  }

  void wait() { check_cuda(cudaStreamSynchronize(stream_), "copying weights to the GPU"); }

 private:
  PinnedMemory pieces_{2 * kPieceBytes};
  cudaStream_t stream_ = nullptr;
  std::array<cudaEvent_t, 2> fetched_{};
  size_t next_ = 0;
};

GpuCopies::GpuCopies(int ordinal) : ordinal_(ordinal), threads_(thread_count(), {}) {
  for (int i = 0; i < threads_.size(); ++i) lanes_.push_back(std::make_unique<Lane>());
}

GpuCopies::~GpuCopies() = default;

void GpuCopies::copy_rows(std::byte* to, size_t pitch, const std::byte* from, size_t width,
                          size_t rows) {
  if (pitch == width) {  // may be cut anywhere: rows of one byte
    rows *= width;
    pitch = width = 1;
  }
  check(pitch <= kPieceBytes, "a row fits a piece");
  const size_t rows_a_piece = kPieceBytes / pitch;
  const size_t pieces = (rows + rows_a_piece - 1) / rows_a_piece;
  threads_.run([&](int rank) {
    if (static_cast<size_t>(rank) >= pieces) return;
    check_cuda(cudaSetDevice(ordinal_), "cudaSetDevice");
    Lane& lane = *lanes_[static_cast<size_t>(rank)];
    for (size_t piece = rank; piece < pieces; piece += lanes_.size()) {
      const size_t row = piece * rows_a_piece;
      lane.copy_rows(to + row * pitch, pitch, from + row * width, width,
                     std::min(rows_a_piece, rows - row));
    }
    lane.wait();
  });
}

}  // namespace dinfer
