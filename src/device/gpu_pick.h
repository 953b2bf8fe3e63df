#pragma once

#include <memory>
#include <span>
#include <vector>

#include "device/device.h"
#include "device/gpu_memory.h"
#include "device/gpu_stream.h"
#include "kernels/cuda/pick.h"

namespace dinfer {

// Device::pick: few bytes go to the GPU and come back.
class GpuPick {
 public:
  GpuPick(GpuStream& stream, const cuda::Stream& launches) : stream_(stream), launches_(launches) {}

  void run(Tensor values, int32_t first_id, std::span<const RowDraw> draws,
           std::span<RowPick> picks);

 private:
  void reserve(int64_t rows);
  // Brings the rows' masks to the GPU; where each one is there, null without one.
  std::vector<const uint64_t*> bring_masks(std::span<const RowDraw> draws);

  GpuStream& stream_;
  const cuda::Stream& launches_;
  int64_t most_rows_ = 0;
  std::unique_ptr<PinnedMemory> host_draws_, host_picks_;
  std::unique_ptr<GpuMemory> draws_, picks_, workspace_;
  size_t mask_words_ = 0;
  std::unique_ptr<PinnedMemory> host_masks_;
  std::unique_ptr<GpuMemory> masks_;
};

}  // namespace dinfer
