#include "device/gpu_pick.h"

#include <algorithm>
#include <bit>

#include "device/gpu_check.h"

namespace dinfer {

void GpuPick::run(Tensor values, int32_t first_id, std::span<const RowDraw> draws,
                  std::span<RowPick> picks) {
  const size_t rows = draws.size();
  check(values.rows == std::ssize(draws) && picks.size() == rows, "pick: a draw and a pick a row");
  reserve(values.rows);
  const std::vector<const uint64_t*> masks = bring_masks(draws);
  auto* host_draws = reinterpret_cast<cuda::Draw*>(host_draws_->data());
  for (size_t i = 0; i < rows; ++i) {
    const RowDraw& draw = draws[i];
    host_draws[i] = {draw.seed,        draw.position, draw.stream,
                     draw.temperature, draw.sums,     static_cast<int32_t>(draw.allowed.size()),
                     masks[i]};
  }
  check_cuda(cudaMemcpyAsync(draws_->data(), host_draws, rows * sizeof(cuda::Draw),
                             cudaMemcpyHostToDevice, stream_.get()),
             "cudaMemcpyAsync");
  cuda::pick(launches_, values.data, values.rows, values.columns, first_id,
             reinterpret_cast<const cuda::Draw*>(draws_->data()),
             reinterpret_cast<cuda::Picked*>(picks_->data()), workspace_->data(), most_rows_);
  check_cuda(cudaMemcpyAsync(host_picks_->data(), picks_->data(), rows * sizeof(cuda::Picked),
                             cudaMemcpyDeviceToHost, stream_.get()),
             "cudaMemcpyAsync");
  stream_.wait();
  const auto* host_picks = reinterpret_cast<const cuda::Picked*>(host_picks_->data());
  for (size_t i = 0; i < rows; ++i) {
    const cuda::Picked& pick = host_picks[i];
    picks[i] = {.id = pick.id,
                .value = pick.value,
                .score = pick.score,
                .sum = {.max = pick.top, .sum = pick.sum},
                .finite = pick.finite != 0};
  }
}

std::vector<const uint64_t*> GpuPick::bring_masks(std::span<const RowDraw> draws) {
  std::vector<const uint64_t*> at(draws.size(), nullptr);
  size_t words = 0;
  for (const RowDraw& draw : draws) words += draw.allowed.size();
  if (words == 0) return at;
  if (words > mask_words_) {
    stream_.wait();
    mask_words_ = std::bit_ceil(words);
    host_masks_ = std::make_unique<PinnedMemory>(mask_words_ * sizeof(uint64_t));
    masks_ = std::make_unique<GpuMemory>(mask_words_ * sizeof(uint64_t));
  }
  auto* host = reinterpret_cast<uint64_t*>(host_masks_->data());
  const auto* device = reinterpret_cast<const uint64_t*>(masks_->data());
  size_t next = 0;
  for (size_t i = 0; i < draws.size(); ++i) {
    if (draws[i].allowed.empty()) continue;
    at[i] = device + next;
    std::ranges::copy(draws[i].allowed, host + next);
    next += draws[i].allowed.size();
  }
  check_cuda(cudaMemcpyAsync(masks_->data(), host, words * sizeof(uint64_t), cudaMemcpyHostToDevice,
                             stream_.get()),
             "cudaMemcpyAsync");
  return at;
}

void GpuPick::reserve(int64_t rows) {
  if (rows <= most_rows_) return;
  stream_.wait();
  most_rows_ = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows)));
  const auto count = static_cast<size_t>(most_rows_);
  host_draws_ = std::make_unique<PinnedMemory>(count * sizeof(cuda::Draw));
  host_picks_ = std::make_unique<PinnedMemory>(count * sizeof(cuda::Picked));
  draws_ = std::make_unique<GpuMemory>(count * sizeof(cuda::Draw));
  picks_ = std::make_unique<GpuMemory>(count * sizeof(cuda::Picked));
  workspace_ = std::make_unique<GpuMemory>(cuda::pick_workspace_bytes(most_rows_));
}

}  // namespace dinfer
