#include "kernels/cuda/allreduce.h"

#include <algorithm>

#include "kernels/cuda/peer_bytes.cuh"
#include "kernels/cuda/peer_turn.cuh"

namespace dinfer::cuda {
namespace {

using namespace peer;

struct SumTask {
  float* values;
  float* into;  // or nullptr
  size_t count;

  __device__ size_t units() const { return (count + 3) / 4; }

  __device__ uint4 load_unit(const float* from, size_t unit) const {
    if (unit * 4 + 4 <= count) return *reinterpret_cast<const uint4*>(from + unit * 4);
    const auto word = [&](size_t i) { return i < count ? __float_as_uint(from[i]) : 0u; };
    return {word(unit * 4), word(unit * 4 + 1), word(unit * 4 + 2), word(unit * 4 + 3)};
  }

  __device__ void finish_unit(size_t unit, float4 sum) const {
    float* to = values;
    if (into) {
      to = into;
      sum = as_floats(load_unit(into, unit)) + sum;
    }
    if (unit * 4 + 4 <= count) {
      *reinterpret_cast<float4*>(to + unit * 4) = sum;
      return;
    }
    const size_t i = unit * 4;
    to[i] = sum.x;
    if (i + 1 < count) to[i + 1] = sum.y;
    if (i + 2 < count) to[i + 2] = sum.z;
  }
};

__device__ size_t first_unit() { return blockIdx.x * size_t{blockDim.x} + threadIdx.x; }
__device__ size_t stride() { return (gridDim.x - 1) * size_t{blockDim.x}; }
__device__ bool is_last_block() { return blockIdx.x == gridDim.x - 1; }

// All that a thread has to send is on its way before it waits for anything.
template <int kMost>
__global__ void __launch_bounds__(512)
    sum_one_shot(const __grid_constant__ PeerGroup group, const __grid_constant__ SumTask task) {
  wait_for_predecessor();
  let_successor_start();
  const Turn turn(group);
  if (is_last_block()) return compare_lengths(turn, task.count);
  for (size_t unit = first_unit(); unit < task.units(); unit += stride())
    push_to_all<kMost, Bare>(turn, unit, task.load_unit(task.values, unit));
  leave_epoch(turn);
  for (size_t unit = first_unit(); unit < task.units(); unit += stride()) {
    const uint4 own = task.load_unit(task.values, unit);
    task.finish_unit(unit, take_sum<kMost>(turn, unit, own));
  }
}

// Share p of the units is added up by rank p.
template <int kMost>
__global__ void __launch_bounds__(512)
    sum_two_shot(const __grid_constant__ PeerGroup group, const __grid_constant__ SumTask task) {
  wait_for_predecessor();
  let_successor_start();
  const Turn turn(group);
  if (is_last_block()) return compare_lengths(turn, task.count);
  const size_t units = task.units(), share = (units + group.ranks - 1) / group.ranks;
  const size_t begin = group.rank * share;
  const size_t mine = min(share, units - min(units, begin));
  for (int step = 1; step < group.ranks; ++step) {
    const int peer = (group.rank + step) % group.ranks;
    std::byte* slot = Bare::slot(turn, peer, group.rank);
    for (size_t i = first_unit(); i < share && peer * share + i < units; i += stride())
      Bare::push(turn, slot, i, task.load_unit(task.values, peer * share + i));
  }
  leave_epoch(turn);
  for (size_t i = first_unit(); i < mine; i += stride()) {
    const uint4 own = task.load_unit(task.values, begin + i);
    const float4 sum = take_sum<kMost>(turn, i, own);
    for (int step = 1; step < group.ranks; ++step) {
      const int peer = (group.rank + step) % group.ranks;
      Bare::push(turn, Bare::slot(turn, peer, group.ranks), begin + i, as_words(sum));
    }
    task.finish_unit(begin + i, sum);
  }
  std::byte* results = Bare::slot(turn, group.rank, group.ranks);
  for (int step = 1; step < group.ranks; ++step) {
    const int peer = (group.rank + step) % group.ranks;
    for (size_t i = first_unit(); i < share && peer * share + i < units; i += stride()) {
      const size_t unit = peer * share + i;
      task.finish_unit(unit, as_floats(take<Bare>(turn, results, unit, peer)));
    }
  }
}

__global__ void gather(const __grid_constant__ PeerGroup group, const std::byte* in, std::byte* out,
                       uint32_t bytes, size_t part_stride) {
  wait_for_predecessor();
  let_successor_start();
  const Turn turn(group);
  if (is_last_block()) return compare_lengths(turn, bytes);
  const size_t units = (bytes + 15) / 16;
  const auto room = [&](size_t at) { return at < bytes ? bytes - at : 0; };
  for (size_t unit = first_unit(); unit < units; unit += stride()) {
    const size_t at = unit * 16;
    const uint2 a = load_bytes(in + at, room(at)), b = load_bytes(in + at + 8, room(at + 8));
    push_to_all<kMaxPeers, Flagged>(turn, unit, {a.x, a.y, b.x, b.y});
    std::byte* own = out + part_stride * group.rank + at;
    store_bytes(own, a, room(at));
    store_bytes(own + 8, b, room(at + 8));
  }
  leave_epoch(turn);
  for (size_t unit = first_unit(); unit < units; unit += stride()) {
    const size_t at = unit * 16;
    for (int step = 1; step < group.ranks; ++step) {
      const int peer = (group.rank + step) % group.ranks;
      const uint4 v = take<Flagged>(turn, Flagged::slot(turn, group.rank, peer), unit, peer);
      std::byte* to = out + part_stride * peer + at;
      store_bytes(to, {v.x, v.y}, room(at));
      store_bytes(to + 8, {v.z, v.w}, room(at + 8));
    }
  }
}

__global__ void fill(uint4* window, size_t packets) {
  wait_for_predecessor();
  let_successor_start();
  for (size_t i = first_unit(); i < packets; i += gridDim.x * size_t{blockDim.x})
    window[i] = {kPeerNothing, kPeerNothing, kPeerNothing, kPeerNothing};
}

}  // namespace

void peer_sum(const Stream& stream, const PeerGroup& group, PeerPath path, float* values,
              float* into, size_t count, PeerLaunch wanted) {
  const SumTask task{.values = values, .into = into, .count = count};
  const size_t units = (count + 3) / 4;
  const size_t work = path == PeerPath::two_shot ? (units + group.ranks - 1) / group.ranks : units;
  const unsigned threads = wanted.threads ? wanted.threads : work <= 4096 ? 128 : 512;
  const size_t most = wanted.blocks ? wanted.blocks : 128;
  const size_t blocks = std::clamp<size_t>((work + threads - 1) / threads, 1, most);
  const auto kernel = [&] {
    if (path == PeerPath::one_shot)
      return group.ranks <= 2   ? sum_one_shot<2>
             : group.ranks <= 4 ? sum_one_shot<4>
                                : sum_one_shot<kMaxPeers>;
    return group.ranks <= 2   ? sum_two_shot<2>
           : group.ranks <= 4 ? sum_two_shot<4>
                              : sum_two_shot<kMaxPeers>;
  }();
  launch(stream, kernel, dim3(static_cast<unsigned>(blocks) + 1), dim3(threads), 0, group, task);
}

void peer_gather(const Stream& stream, const PeerGroup& group, const std::byte* in, std::byte* out,
                 size_t bytes, size_t stride) {
  constexpr unsigned kThreads = 256;
  const size_t blocks = std::clamp<size_t>((bytes / 16 + kThreads - 1) / kThreads, 1, 64);
  launch(stream, gather, dim3(static_cast<unsigned>(blocks) + 1), dim3(kThreads), 0, group, in, out,
         static_cast<uint32_t>(bytes), stride);
}

void peer_clear(const Stream& stream, std::byte* window, size_t bytes) {
  launch(stream, fill, dim3(256), dim3(256), 0, reinterpret_cast<uint4*>(window),
         bytes / sizeof(uint4));
}

}  // namespace dinfer::cuda
