// The parts that collectives among peers are made of: send to all, take from all in the order of
// the ranks, notice that the others called something else.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/peer_packets.cuh"

namespace dinfer::cuda::peer {

__device__ inline float4 as_floats(uint4 v) {
  return {__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z), __uint_as_float(v.w)};
}
__device__ inline uint4 as_words(float4 v) {
  return {__float_as_uint(v.x), __float_as_uint(v.y), __float_as_uint(v.z), __float_as_uint(v.w)};
}
__device__ inline float4 operator+(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// One packet for every other rank. kMost: ranks at most.
template <int kMost, class Packet>
__device__ inline void push_to_all(const Turn& turn, size_t i, uint4 v) {
  const PeerGroup& group = turn.group;
#pragma unroll
  for (int step = 1; step < kMost; ++step) {
    if (step >= group.ranks) break;
    const int peer = group.rank + step - (group.rank + step < group.ranks ? 0 : group.ranks);
    Packet::push(turn, Packet::slot(turn, peer, group.rank), i, v);
  }
}

// Called by all threads of every block once they have read the epoch: after it, the epoch may move.
__device__ inline void leave_epoch(const Turn& turn) {
  __syncthreads();
  if (threadIdx.x == 0) turn.count_block();
}

// One block of each kernel does only this: it tells all ranks how long this rank's data is, and
// compares with what they tell. A rank whose peers sent all it wanted may still be out of step:
// they may have sent more.
__device__ inline void compare_lengths(const Turn& turn, size_t length) {
  const PeerGroup& group = turn.group;
  leave_epoch(turn);
  const int peer = static_cast<int>(threadIdx.x);
  if (peer >= group.ranks || peer == group.rank) return;
  const auto ours = static_cast<uint32_t>(length);
  store(turn.header(peer, group.rank), {ours, turn.flag(), 0, turn.flag()});
  const std::byte* header = turn.header(group.rank, peer);
  Patience patience(turn.group);
  uint4 theirs = load(header);
  while (theirs.y != turn.flag()) {
    if (patience.is_over(peer)) return;
    theirs = load(header);
  }
  if (theirs.x != ours) patience.report(PeerFault::diverged, peer, theirs.x, ours);
}

// Waits for packet i of `slot`, which `peer` writes.
template <class Packet>
__device__ inline uint4 take(const Turn& turn, std::byte* slot, size_t i, int peer) {
  Patience patience(turn.group);
  uint4 v;
  while (!Packet::peek(turn, slot, i, v))
    if (patience.is_over(peer)) break;
  Packet::clear(slot, i);
  return v;
}

// Waits for packet i of all peers, and adds them up, `own` among them, in the order of the ranks.
template <int kMost>
__device__ inline float4 take_sum(const Turn& turn, size_t i, uint4 own) {
  const PeerGroup& group = turn.group;
  uint4 parts[kMost];
  Patience patience(turn.group);
  for (;;) {
    int missing = -1;
#pragma unroll
    for (int r = 0; r < kMost; ++r) {
      parts[r] = own;
      if (r >= group.ranks || r == group.rank) continue;
      if (!Bare::peek(turn, Bare::slot(turn, group.rank, r), i, parts[r])) missing = r;
    }
    if (missing < 0 || patience.is_over(missing)) break;
  }
  float4 sum = as_floats(parts[0]);
#pragma unroll
  for (int r = 1; r < kMost; ++r)
    if (r < group.ranks) sum = sum + as_floats(parts[r]);
#pragma unroll
  for (int r = 0; r < kMost; ++r)
    if (r < group.ranks && r != group.rank) Bare::clear(Bare::slot(turn, group.rank, r), i);
  return sum;
}

}  // namespace dinfer::cuda::peer
