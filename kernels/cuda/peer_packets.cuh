// What kernels say to each other across GPUs. Data is pushed: a store to a peer is on its way at
// once, a load from one is a round trip. The data tells its arrival itself, in one of two ways, so
// that no second message and no fence is needed (the idea of NCCL's LL protocol, and of Lamport's
// flagless exchange).
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/peer_group.h"

namespace dinfer::cuda::peer {

__device__ inline void store(std::byte* to, uint4 v) {
  asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(to), "r"(v.x), "r"(v.y),
               "r"(v.z), "r"(v.w)
               : "memory");
}

__device__ inline uint4 load(const std::byte* from) {
  uint4 v;
  asm volatile("ld.relaxed.sys.global.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from)
               : "memory");
  return v;
}

__device__ inline uint64_t nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

// One collective as one thread sees it.
struct Turn {
  const PeerGroup& group;
  uint32_t epoch;

  __device__ explicit Turn(const PeerGroup& g)
      : group(g), epoch(*static_cast<volatile uint32_t*>(&g.counters->epoch)) {}

  // In the window of rank `owner`, where rank `from` writes.
  __device__ std::byte* header(int owner, int from) const { return half(owner) + from * 16; }
  __device__ std::byte* flagged_slot(int owner, int from) const {
    return half(owner) + kPeerHeaders + from * kFlaggedBytes;
  }
  // from == ranks: results of two-shot sums.
  __device__ std::byte* bare_slot(int owner, int from) const {
    return half(owner) + kPeerHeaders + group.ranks * kFlaggedBytes + from * group.slot_bytes;
  }

  // The flag of this turn: none that the same half has seen for 2^30 turns, and not kPeerNothing.
  __device__ uint32_t flag() const { return epoch & 0x7fffffff; }

  // Called by one thread of every block once the block has read the epoch: the last one moves it.
  __device__ void count_block() const {
    const uint32_t blocks = gridDim.x * gridDim.y;
    if (atomicAdd(&group.counters->started, 1) != blocks - 1) return;
    group.counters->started = 0;
    group.counters->epoch = epoch + 1;
  }

 private:
  __device__ std::byte* half(int owner) const {
    return group.windows[owner] + (epoch & 1) * peer_half_bytes(group.ranks, group.slot_bytes);
  }
};

// How long a thread waits: not for ever, whatever becomes of the peer.
class Patience {
 public:
  __device__ explicit Patience(const PeerGroup& group) : group_(group) {}

  // Called after a look in vain for data of `peer`; true: give up.
  __device__ bool is_over(int peer) {
    if (++looks_ % kLooks != 0) return false;
    if (*static_cast<volatile uint32_t*>(&group_.counters->fault) != 0) return true;
    // Host memory is far away: thousands of lanes that ask for it delay the data they wait for.
    if (is_first_of_active() && *static_cast<volatile uint32_t*>(&group_.report->stop) != 0)
      return report(PeerFault::told_to, peer, 0, 0);
    const uint64_t now = nanoseconds();
    if (begin_ == 0) begin_ = now;
    return now - begin_ > group_.timeout_ns && report(PeerFault::late, peer, 0, 0);
  }

  __device__ bool report(PeerFault fault, int peer, uint32_t theirs, uint32_t ours) const {
    if (atomicExch(&group_.counters->fault, static_cast<uint32_t>(fault)) == 0) {
      volatile PeerReport* out = group_.report;
      out->peer = peer;
      out->theirs = theirs;
      out->ours = ours;
      __threadfence_system();
      out->fault = static_cast<uint32_t>(fault);
    }
    return true;
  }

 private:
  static constexpr uint32_t kLooks = 1024;  // some 500 us

  __device__ static bool is_first_of_active() {
    return static_cast<int>(threadIdx.x % 32) == __ffs(static_cast<int>(__activemask())) - 1;
  }

  const PeerGroup& group_;
  uint32_t looks_ = 0;
  uint64_t begin_ = 0;
};

// Four words, of which any may be anything. Each half of a 16-byte store is two words of data with
// a flag between: eight bytes arrive together. Twice the bytes.
struct Flagged {
  static constexpr size_t kBytes = 32;

  __device__ static std::byte* slot(const Turn& turn, int owner, int from) {
    return turn.flagged_slot(owner, from);
  }
  __device__ static void push(const Turn& turn, std::byte* slot, size_t i, uint4 v) {
    store(slot + i * 16, {v.x, turn.flag(), v.y, turn.flag()});
    store(slot + kPlane + i * 16, {v.z, turn.flag(), v.w, turn.flag()});
  }
  __device__ static bool peek(const Turn& turn, const std::byte* slot, size_t i, uint4& v) {
    const uint4 a = load(slot + i * 16), b = load(slot + kPlane + i * 16);
    v = {a.x, a.z, b.x, b.z};
    const uint32_t flag = turn.flag();
    return a.y == flag && a.w == flag && b.y == flag && b.w == flag;
  }
  __device__ static void clear(std::byte*, size_t) {}

 private:
  static constexpr size_t kPlane = kFlaggedBytes / 2;  // so that a warp's store is one piece
};

// Four floats, each of which is there once it is not kPeerNothing. The taker puts that back.
struct Bare {
  static constexpr size_t kBytes = 16;

  __device__ static std::byte* slot(const Turn& turn, int owner, int from) {
    return turn.bare_slot(owner, from);
  }
  __device__ static void push(const Turn&, std::byte* slot, size_t i, uint4 v) {
    store(slot + i * 16, {something(v.x), something(v.y), something(v.z), something(v.w)});
  }
  __device__ static bool peek(const Turn&, const std::byte* slot, size_t i, uint4& v) {
    v = load(slot + i * 16);
    return v.x != kPeerNothing && v.y != kPeerNothing && v.z != kPeerNothing && v.w != kPeerNothing;
  }
  __device__ static void clear(std::byte* slot, size_t i) {
    store(slot + i * 16, {kPeerNothing, kPeerNothing, kPeerNothing, kPeerNothing});
  }

 private:
  __device__ static uint32_t something(uint32_t word) {
    return word == kPeerNothing ? 0x7fffffffu : word;
  }
};

}  // namespace dinfer::cuda::peer
