#include "comm/shared_collectives.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace dinfer {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kBlock = size_t{256} << 10;  // bytes; a few blocks fit the second-level cache
constexpr size_t kBlockFloats = kBlock / sizeof(float);
// From here on each rank adds one share and all copy the sums, instead of all adding everything.
constexpr size_t kShareFrom = size_t{32} << 10;
constexpr int kShareRanks = 3;

// out[i] = parts[0][i] + parts[1][i] + ..., in this order; in tiles that stay in the first cache.
template <class Part>
void add_in_order(std::span<float> out, int parts, Part part) {
  constexpr size_t kTile = 2048;
  for (size_t begin = 0; begin < out.size(); begin += kTile) {
    const size_t count = std::min(kTile, out.size() - begin);
    float* sum = out.data() + begin;
    std::memcpy(sum, part(0) + begin, count * sizeof(float));
    for (int p = 1; p < parts; ++p) {
      const float* addend = part(p) + begin;
      for (size_t i = 0; i < count; ++i) sum[i] += addend[i];
    }
  }
}

}  // namespace

struct SharedCollectives::Lane {
  alignas(kLine) std::atomic<uint64_t> published;  // turn
  uint64_t bytes[2];                               // of the turns' parts
  alignas(kLine) std::atomic<uint64_t> summed;     // turn
};

// Layout: a Lane a rank; then for both turns a block a rank and one block of sums.
size_t SharedCollectives::segment_bytes(int ranks) {
  return ranks * sizeof(Lane) + 2 * (ranks + 1) * kBlock;
}

SharedCollectives::SharedCollectives(std::span<std::byte> segment, const Members& members,
                                     PeerWait& wait, std::function<void()> meanwhile)
    : segment_(segment.data()),
      members_(members),
      rank_(members.rank()),
      ranks_(members.size()),
      wait_(wait),
      meanwhile_(std::move(meanwhile)) {
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  check(segment.size() >= segment_bytes(ranks_), "the segment holds all ranks");
}

SharedCollectives::Lane& SharedCollectives::lane(int rank) const {
  return reinterpret_cast<Lane*>(segment_)[rank];
}

std::byte* SharedCollectives::part(int rank) const {
  const size_t block = (turn_ & 1) * (ranks_ + 1) + static_cast<size_t>(rank);
  return segment_ + ranks_ * sizeof(Lane) + block * kBlock;
}

float* SharedCollectives::sums() const { return reinterpret_cast<float*>(part(ranks_)); }

void SharedCollectives::publish(size_t bytes, Deadline deadline, std::string_view what) {
  Lane& mine = lane(rank_);
  mine.bytes[turn_ & 1] = bytes;
  mine.published.store(turn_, std::memory_order_release);
  wait_for(&Lane::published, deadline, what);
  for (int r = 0; r < ranks_; ++r) {
    const uint64_t theirs = lane(r).bytes[turn_ & 1];
    if (theirs != bytes)
      wait_.fail_diverged(members_[r], fmt::format("a collective of {} bytes", theirs),
                          fmt::format("{} of {} bytes", what, bytes));
  }
}

void SharedCollectives::wait_for(std::atomic<uint64_t> Lane::*flag, Deadline deadline,
                                 std::string_view what) {
  int next = 0;
  const auto arrived = [&](int r) {
    return (lane(r).*flag).load(std::memory_order_acquire) >= turn_;
  };
  const auto done = [&] {
    while (next < ranks_ && arrived(next)) ++next;
    if (next < ranks_) meanwhile_();
    return next == ranks_;
  };
  const auto missing = [&] {
    std::vector<int> late;
    for (int r = next; r < ranks_; ++r)
      if (!arrived(r)) late.push_back(members_[r]);
    return late;
  };
  wait_.until(done, missing, deadline, what);
}

void SharedCollectives::all_reduce_sum(std::span<float> values, Deadline deadline) {
  for (size_t begin = 0; begin < values.size(); begin += kBlockFloats) {
    const auto block = values.subspan(begin, std::min(kBlockFloats, values.size() - begin));
    ++turn_;
    std::memcpy(part(rank_), block.data(), block.size_bytes());
    publish(block.size_bytes(), deadline, "all_reduce_sum");
    if (ranks_ >= kShareRanks && block.size_bytes() >= kShareFrom)
      reduce_shares(block, deadline);
    else
      reduce_whole(block);
  }
}

void SharedCollectives::reduce_whole(std::span<float> block) {
  add_in_order(block, ranks_, [&](int r) { return reinterpret_cast<const float*>(part(r)); });
}

void SharedCollectives::reduce_shares(std::span<float> block, Deadline deadline) {
  constexpr size_t kLineFloats = kLine / sizeof(float);
  const size_t lines = (block.size() + kLineFloats - 1) / kLineFloats;
  const size_t begin = std::min(block.size(), lines * rank_ / ranks_ * kLineFloats);
  const size_t end = std::min(block.size(), lines * (rank_ + 1) / ranks_ * kLineFloats);
  add_in_order(std::span(sums() + begin, end - begin), ranks_,
               [&](int r) { return reinterpret_cast<const float*>(part(r)) + begin; });
  lane(rank_).summed.store(turn_, std::memory_order_release);
  wait_for(&Lane::summed, deadline, "all_reduce_sum");
  std::memcpy(block.data(), sums(), block.size_bytes());
}

void SharedCollectives::all_gather(std::span<const std::byte> in, std::span<std::byte> out,
                                   Deadline deadline) {
  for (size_t begin = 0; begin < in.size(); begin += kBlock) {
    const auto block = in.subspan(begin, std::min(kBlock, in.size() - begin));
    ++turn_;
    std::ranges::copy(block, part(rank_));
    publish(block.size(), deadline, "all_gather");
    for (int r = 0; r < ranks_; ++r)
      std::copy_n(part(r), block.size(), out.data() + r * in.size() + begin);
  }
}

}  // namespace dinfer
