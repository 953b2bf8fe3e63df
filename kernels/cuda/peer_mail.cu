#include "kernels/cuda/peer_mail.h"

#include <algorithm>

#include "kernels/cuda/peer_bytes.cuh"
#include "kernels/cuda/peer_packets.cuh"

namespace dinfer::cuda {
namespace {

using namespace peer;

// Short messages go as packets whose flags are in the data: one trip. Beyond that, half the bytes
// count for more than the second trip.
constexpr size_t kMostShort = kMailLanes * kMailShort;
constexpr unsigned kShortThreads = kMailShort / 16;
constexpr unsigned kLongThreads = 512;

__device__ uint64_t load_acquire(const uint64_t* from) {
  uint64_t v;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(v) : "l"(from) : "memory");
  return v;
}

__device__ void store_release(uint64_t* to, uint64_t v) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(to), "l"(v) : "memory");
}

__device__ void store_release(uint32_t* to, uint32_t v) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(to), "r"(v) : "memory");
}

__device__ void store_relaxed(uint64_t* to, uint64_t v) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(to), "l"(v) : "memory");
}

__device__ uint32_t load_relaxed(const uint32_t* from) {
  uint32_t v;
  asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(v) : "l"(from) : "memory");
  return v;
}

// One block's lane between this rank and `peer`.
struct Lane {
  const PeerGroup& group;
  int peer;
  unsigned lane;

  __device__ Lane(const PeerGroup& g, int other) : group(g), peer(other), lane(blockIdx.x) {}

  // Where the two ranks write for each other: `from` into the window of `owner`.
  __device__ PeerMailbox& box(int owner, int from) const {
    std::byte* boxes = group.windows[owner] + 2 * peer_half_bytes(group.ranks, group.slot_bytes);
    return reinterpret_cast<PeerMailbox*>(boxes)[from];
  }
  __device__ PeerMailbox& theirs() const { return box(peer, group.rank); }
  __device__ PeerMailbox& ours() const { return box(group.rank, peer); }

  // Both places may be full: waits until the peer has taken the piece before the last. False: it
  // does not.
  __device__ bool wait_for_room(uint32_t piece) const {
    Patience patience(group);
    while (piece > 2 && static_cast<int32_t>(load_relaxed(&ours().taken[lane]) - (piece - 2)) < 0)
      if (patience.is_over(peer)) return false;
    return true;
  }

  // Waits for a piece to be there; false where it is none of a message of so many bytes.
  __device__ bool wait_for_arrival(uint32_t piece, size_t bytes) const {
    Patience patience(group);
    uint64_t word;
    while (word = load_acquire(&ours().arrived[lane][piece & 1]), word >> 32 != piece)
      if (patience.is_over(peer)) return false;
    const auto there = static_cast<uint32_t>(word), expected = static_cast<uint32_t>(bytes);
    if (there != expected) patience.report(PeerFault::diverged, peer, there, expected);
    return there == expected;
  }

  // After data that does not tell its arrival itself...
  __device__ void tell_arrival(uint32_t piece, size_t bytes) const {
    __threadfence_system();
    store_release(&theirs().arrived[lane][piece & 1], word_of(piece, bytes));
  }
  // ... and before data that does.
  __device__ void tell_length(uint32_t piece, size_t bytes) const {
    store_relaxed(&theirs().arrived[lane][piece & 1], word_of(piece, bytes));
  }
  // Once all threads have what they need of it.
  __device__ void tell_taken(uint32_t piece) const { store_release(&theirs().taken[lane], piece); }

 private:
  __device__ static uint64_t word_of(uint32_t piece, size_t bytes) {
    return static_cast<uint64_t>(piece) << 32 | static_cast<uint32_t>(bytes);
  }
};

// A flag: none that the same place has seen for 2^30 pieces, and not kPeerNothing.
__device__ uint32_t flag_of(uint32_t piece) { return piece & 0x7fffffff; }

// Each thread of each lane has one packet.
__global__ void __launch_bounds__(kShortThreads)
    send_short(const __grid_constant__ PeerGroup group, int peer, const std::byte* data,
               size_t bytes) {
  wait_for_predecessor();
  let_successor_start();
  const Lane lane(group, peer);
  uint32_t& sent = group.mail->sent[peer][lane.lane];
  const uint32_t piece = *static_cast<volatile uint32_t*>(&sent) + 1, flag = flag_of(piece);
  const size_t unit = blockIdx.x * size_t{kShortThreads} + threadIdx.x;
  const bool works = unit * 16 < bytes;
  const uint4 v = works ? load_unit(data, unit, bytes) : uint4{};
  const bool room = lane.wait_for_room(piece);
  if (threadIdx.x == 0 && room) lane.tell_length(piece, bytes);
  if (works && room) {
    std::byte* place = lane.theirs().flagged[lane.lane][piece & 1] + threadIdx.x * 16;
    store(place, {v.x, flag, v.y, flag});
    store(place + kMailShort, {v.z, flag, v.w, flag});
  }
  __syncthreads();
  if (threadIdx.x == 0) sent = piece;
}

// One more warp compares lengths while the packets come.
__global__ void __launch_bounds__(kShortThreads + 32)
    receive_short(const __grid_constant__ PeerGroup group, int peer, std::byte* data,
                  size_t bytes) {
  wait_for_predecessor();
  let_successor_start();
  const Lane lane(group, peer);
  uint32_t& received = group.mail->received[peer][lane.lane];
  const uint32_t piece = *static_cast<volatile uint32_t*>(&received) + 1, flag = flag_of(piece);
  const size_t unit = blockIdx.x * size_t{kShortThreads} + threadIdx.x;
  if (threadIdx.x == kShortThreads) lane.wait_for_arrival(piece, bytes);
  if (threadIdx.x < kShortThreads && unit * 16 < bytes) {
    const std::byte* place = lane.ours().flagged[lane.lane][piece & 1] + threadIdx.x * 16;
    Patience patience(group);
    for (;;) {
      const uint4 a = load(place), b = load(place + kMailShort);
      if (a.y == flag && a.w == flag && b.y == flag && b.w == flag) {
        store_unit(data, unit, bytes, {a.x, a.z, b.x, b.z});
        break;
      }
      if (patience.is_over(peer)) break;
    }
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  received = piece;
  lane.tell_taken(piece);
}

// How a long message is cut: piece i goes through lane i % lanes.
struct Cut {
  size_t bytes;
  size_t piece;

  __host__ __device__ size_t pieces() const { return (bytes + piece - 1) / piece; }
  __device__ size_t length(size_t i) const { return min(piece, bytes - i * piece); }
};

constexpr int kUnroll = 4;

// Calls move(unit) for all units of 16 bytes of a piece, several loads of a thread at once.
template <class Load, class Store>
__device__ void move_units(size_t bytes, Load load, Store store) {
  const size_t units = (bytes + 15) / 16;
  for (size_t first = threadIdx.x; first < units; first += kUnroll * kLongThreads) {
    uint4 v[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k)
      if (first + k * kLongThreads < units) v[k] = load(first + k * kLongThreads);
#pragma unroll
    for (int k = 0; k < kUnroll; ++k)
      if (first + k * kLongThreads < units) store(first + k * kLongThreads, v[k]);
  }
}

__global__ void __launch_bounds__(kLongThreads)
    send_long(const __grid_constant__ PeerGroup group, int peer, const std::byte* data,
              const __grid_constant__ Cut cut) {
  wait_for_predecessor();
  let_successor_start();
  const Lane lane(group, peer);
  uint32_t& sent = group.mail->sent[peer][lane.lane];
  uint32_t piece = *static_cast<volatile uint32_t*>(&sent);
  for (size_t i = blockIdx.x; i < cut.pieces(); i += gridDim.x) {
    ++piece;
    if (__syncthreads_or(threadIdx.x == 0 && !lane.wait_for_room(piece))) return;
    auto* place = reinterpret_cast<uint4*>(lane.theirs().bare[lane.lane][piece & 1]);
    const std::byte* from = data + i * cut.piece;
    const size_t bytes = cut.length(i);
    move_units(
        bytes, [&](size_t unit) { return load_unit(from, unit, bytes); },
        [&](size_t unit, uint4 v) { place[unit] = v; });
    __syncthreads();
    if (threadIdx.x == 0) lane.tell_arrival(piece, cut.bytes);
  }
  if (threadIdx.x == 0) sent = piece;
}

__global__ void __launch_bounds__(kLongThreads)
    receive_long(const __grid_constant__ PeerGroup group, int peer, std::byte* data,
                 const __grid_constant__ Cut cut) {
  wait_for_predecessor();
  let_successor_start();
  const Lane lane(group, peer);
  uint32_t& received = group.mail->received[peer][lane.lane];
  uint32_t piece = *static_cast<volatile uint32_t*>(&received);
  for (size_t i = blockIdx.x; i < cut.pieces(); i += gridDim.x) {
    ++piece;
    if (__syncthreads_or(threadIdx.x == 0 && !lane.wait_for_arrival(piece, cut.bytes))) return;
    const auto* place = reinterpret_cast<const uint4*>(lane.ours().bare[lane.lane][piece & 1]);
    std::byte* to = data + i * cut.piece;
    const size_t bytes = cut.length(i);
    // Not from the first cache, which does not see what peers write.
    move_units(
        bytes, [&](size_t unit) { return __ldcg(place + unit); },
        [&](size_t unit, uint4 v) { store_unit(to, unit, bytes, v); });
    __syncthreads();
    if (threadIdx.x == 0) lane.tell_taken(piece);
  }
  if (threadIdx.x == 0) received = piece;
}

bool is_short(size_t bytes) { return bytes <= kMostShort; }

dim3 short_lanes(size_t bytes) {
  return dim3(static_cast<unsigned>((bytes + kMailShort - 1) / kMailShort));
}

Cut cut_long(size_t bytes) {
  constexpr size_t kLine = 512;
  const size_t share = (bytes + kMailLanes * kLine - 1) / (kMailLanes * kLine) * kLine;
  return {.bytes = bytes, .piece = std::min(share, kMailPiece)};
}

dim3 long_lanes(const Cut& cut) {
  return dim3(static_cast<unsigned>(std::min<size_t>(cut.pieces(), kMailLanes)));
}

}  // namespace

void peer_send(const Stream& stream, const PeerGroup& group, int receiver, const std::byte* data,
               size_t bytes) {
  if (bytes == 0) return;
  if (is_short(bytes))
    return launch(stream, send_short, short_lanes(bytes), dim3(kShortThreads), 0, group, receiver,
                  data, bytes);
  const Cut cut = cut_long(bytes);
  launch(stream, send_long, long_lanes(cut), dim3(kLongThreads), 0, group, receiver, data, cut);
}

void peer_receive(const Stream& stream, const PeerGroup& group, int sender, std::byte* data,
                  size_t bytes) {
  if (bytes == 0) return;
  if (is_short(bytes))
    return launch(stream, receive_short, short_lanes(bytes), dim3(kShortThreads + 32), 0, group,
                  sender, data, bytes);
  const Cut cut = cut_long(bytes);
  launch(stream, receive_long, long_lanes(cut), dim3(kLongThreads), 0, group, sender, data, cut);
}

}  // namespace dinfer::cuda
