#pragma once

#include <algorithm>

#include "kernels/cuda/matmul_decode.cuh"

namespace dinfer::cuda {

// Where things are in a block's shared memory.
template <class Form, int kRows>
struct DecodeMemory {
  using B = Batch<kRows>;
  static constexpr int kPartial = kPanel * B::kColumns;  // floats of a warp and item
  static constexpr int kInputSums =
      Form::kGrouped ? B::kSteps / Form::kGroupSteps * B::kColumns : 0;  // floats of a warp

  int stage_bytes, ring_bytes, warps;

  __host__ __device__ DecodeMemory(const PackedMatrix& m, int warps)
      : stage_bytes(kStageBytes + Form::scale_bytes(m)),
        ring_bytes(stage_bytes * Form::kDepth),
        warps(warps) {}

  __host__ __device__ int partials() const { return warps * ring_bytes; }
  __host__ __device__ int input_sums() const { return partials() + 2 * warps * kPartial * 4; }
  __host__ __device__ int squares() const { return input_sums() + warps * kInputSums * 4; }
  __host__ __device__ int inverses() const { return squares() + kFusedRows * warps * 4; }
  __host__ __device__ int bytes() const { return inverses() + kRows * 4; }
};

// A warp's ring: stages of its columns of the block's items, in order.
template <class Form>
class Ring {
 public:
  __device__ Ring(const DecodeTask& task, int begin, int end, uint32_t memory, int stage_bytes)
      : memory_(memory), stage_bytes_(stage_bytes) {
    const int panels = static_cast<int>(task.weight.panels());
    const int slab = begin / panels;
    panel_ = begin - slab * panels;
    items_ = end - begin;
    first_column_ =
        (slab * task.plan.warps + static_cast<int>(threadIdx.x) / 32) * task.plan.warp_columns;
  }

  // Starts copying the next stage to where the latest one read was.
  __device__ void fetch(const DecodeTask& task) {
    if (items_ > 0) {
      Form::fetch(task.weight, panel_, first_column_ + column_, memory_ + write_);
      column_ += Form::kStageColumns;
      if (column_ == task.plan.warp_columns) next_item(task);
    }
    commit_copies();
    write_ = next(write_);
  }

  // The oldest stage. To be followed by a fetch().
  __device__ uint32_t read() {
    wait_copies<Form::kDepth - 1>();
    const uint32_t stage = memory_ + read_;
    read_ = next(read_);
    return stage;
  }

 private:
  __device__ void next_item(const DecodeTask& task) {
    column_ = 0;
    --items_;
    if (++panel_ < static_cast<int>(task.weight.panels())) return;
    panel_ = 0;
    first_column_ += task.plan.warps * task.plan.warp_columns;
  }

  __device__ int next(int at) const {
    return at + stage_bytes_ == Form::kDepth * stage_bytes_ ? 0 : at + stage_bytes_;
  }

  uint32_t memory_;
  int stage_bytes_, panel_, items_, first_column_, column_ = 0, read_ = 0, write_ = 0;
};

// 1 / rms of each row, or 1: by the whole block; known to a thread once it has met the others.
__device__ inline void find_inverses(const DecodeTask& task, int padded_rows, float* squares,
                                     float* inverses) {
  const Rows& rows = task.rows;
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (rows.kind == Rows::Kind::normed) {
    for (int r = 0; r < rows.count; ++r) {
      const float* x = rows.data + r * rows.stride;
      float sum = 0.0f;
      for (int64_t c = threadIdx.x; c < rows.columns; c += blockDim.x) sum += x[c] * x[c];
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
      if (threadIdx.x % 32 == 0) squares[r * warps + threadIdx.x / 32] = sum;
    }
    __syncthreads();
  }
  const int r = static_cast<int>(threadIdx.x);
  if (r >= padded_rows) return;
  float inverse = 1.0f;
  if (rows.kind == Rows::Kind::normed && r < rows.count) {
    float sum = 0.0f;
    for (int w = 0; w < warps; ++w) sum += squares[r * warps + w];
    inverse = rsqrtf(sum / static_cast<float>(rows.columns) + rows.epsilon);
  }
  inverses[r] = inverse;
}

// Products of weight row `row` with input rows n .. n + 3.
__device__ inline void finish(const DecodeTask& task, int row, int n, const float4& sums,
                              const float* inverses) {
  if (row >= task.weight.rows) return;
  const Products& out = task.out;
  const float bias = out.bias ? out.bias[row] : 0.0f;
  const float values[4] = {sums.x, sums.y, sums.z, sums.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (n + i >= task.rows.count) return;
    float* to = out.data + (n + i) * out.stride + row;
    const float value = values[i] * inverses[n + i] + bias;
    *to = out.add ? *to + value : value;
  }
}

// Sums the warps' parts of an item, and finishes them, or leaves them as a part of several slabs'.
template <int kRows>
__device__ void sum_warps(const DecodeTask& task, int item, const float* partials,
                          const float* inverses) {
  using B = Batch<kRows>;
  constexpr int kQuads = B::kColumns / 4;  // of a row
  const int panels = static_cast<int>(task.weight.panels()), lane = threadIdx.x % 32;
  const int slab = item / panels, panel = item - slab * panels;
#pragma unroll
  for (int i = lane; i < kPanel * kQuads; i += 32) {
    float4 sum{};
    for (int w = 0; w < task.plan.warps; ++w) {
      const float4 v = reinterpret_cast<const float4*>(partials + w * kPanel * B::kColumns)[i];
      sum = {sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w};
    }
    if (kRows == 4) {  // high pieces' products are in even quads, low ones' in odd
      sum.x += __shfl_xor_sync(~0u, sum.x, 1);
      sum.y += __shfl_xor_sync(~0u, sum.y, 1);
      sum.z += __shfl_xor_sync(~0u, sum.z, 1);
      sum.w += __shfl_xor_sync(~0u, sum.w, 1);
      if (lane % 2 == 1) continue;
    }
    const int row = panel * static_cast<int>(kPanel) + i / kQuads;
    const int quad = kRows == 4 ? 0 : i % kQuads;
    if (task.plan.slabs == 1) {
      finish(task, row, 4 * quad, sum, inverses);
    } else {
      const int64_t at = int64_t{slab} * panels * kPanel + row;
      reinterpret_cast<float4*>(task.workspace.partial)[at * (kRows / 4) + quad] = sum;
    }
  }
}

// Until all blocks have come here. They run at the same time: there are no more than fit.
__device__ inline void meet_all_blocks(unsigned* counters) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(&counters[0], 1u);
    unsigned arrived = 0;
    while (arrived < gridDim.x) {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrived) : "l"(&counters[0]));
    }
    if (atomicAdd(&counters[1], 1u) == gridDim.x - 1) counters[0] = counters[1] = 0;
  }
  __syncthreads();
}

template <int kRows>
__device__ void sum_slabs(const DecodeTask& task, const float* inverses) {
  const int rows = static_cast<int>(task.weight.rows), quads = kRows / 4;
  const int64_t slab = task.weight.panels() * kPanel * quads;
  const auto* partial = reinterpret_cast<const float4*>(task.workspace.partial);
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < rows * quads;
       i += static_cast<int>(gridDim.x * blockDim.x)) {
    float4 sum{};
    for (int s = 0; s < task.plan.slabs; ++s) {
      const float4 v = __ldcg(partial + s * slab + i);
      sum = {sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w};
    }
    finish(task, i / quads, i % quads * 4, sum, inverses);
  }
}

template <class Form, int kRows>
__global__ void __launch_bounds__(32 * kDecodeMostWarps, kRows == 4 ? 2 : 1)
    multiply_stream(const __grid_constant__ DecodeTask task) {
  using B = Batch<kRows>;
  using Memory = DecodeMemory<Form, kRows>;
  extern __shared__ __align__(128) std::byte shared[];
  let_successor_start();
  const Memory memory(task.weight, task.plan.warps);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = threadIdx.x % 32;
  const int panels = static_cast<int>(task.weight.panels());
  const int64_t items = int64_t{panels} * task.plan.slabs;
  const int begin = static_cast<int>(items * blockIdx.x / gridDim.x);
  const int end = static_cast<int>(items * (blockIdx.x + 1) / gridDim.x);

  Ring<Form> ring(task, begin, end, shared_address(shared) + warp * memory.ring_bytes,
                  memory.stage_bytes);
#pragma unroll 1
  for (int i = 0; i < Form::kDepth; ++i) ring.fetch(task);
  wait_for_predecessor();
  auto* inverses = reinterpret_cast<float*>(shared + memory.inverses());
  find_inverses(task, kRows, reinterpret_cast<float*>(shared + memory.squares()), inverses);

  auto* partials = reinterpret_cast<float*>(shared + memory.partials());
  auto* input_sums =
      reinterpret_cast<float*>(shared + memory.input_sums()) + warp * Memory::kInputSums;
  const int warps = task.plan.warps, threads = 32 * warps;
  Inputs<Form, kRows> x;
  int owner = 0, before = -1, before_that = -1;  // warps that sum this item, and the last two
#pragma unroll 1
  for (int item = begin; item < end;) {
    const int slab = item / panels, stop = min(end, (slab + 1) * panels);
    x.load(task.rows, int64_t{slab * warps + warp} * task.plan.warp_columns, task.plan.warp_columns,
           input_sums);
#pragma unroll 1
    for (; item < stop; ++item) {
      float sums[B::kSums][4] = {};
#pragma unroll
      for (int column = 0; column < 16 * B::kSteps; column += Form::kStageColumns) {
        if (column >= task.plan.warp_columns) break;
        const uint32_t stage = ring.read();
        Form::template multiply<kRows>(task.weight, stage, column / 16, x, input_sums, sums);
        ring.fetch(task);
      }
      const int buffer = (item - begin) % 2;
      if (before_that >= 0 && before_that != warp) wait_barrier(3 + buffer, threads);
      float* mine = partials + (buffer * warps + warp) * Memory::kPartial;
#pragma unroll
      for (int s = 0; s < B::kSums; ++s) {
        const float f0 = x.factor(s, 0), f1 = x.factor(s, 1);
        auto* at = reinterpret_cast<float2*>(mine + lane / 4 * B::kColumns + 8 * s + lane % 4 * 2);
        at[0] = {sums[s][0] * f0, sums[s][1] * f1};
        at[4 * B::kColumns] = {sums[s][2] * f0, sums[s][3] * f1};
      }
      if (warp == owner) {
        wait_barrier(1 + buffer, threads);
        sum_warps<kRows>(task, item, partials + buffer * warps * Memory::kPartial, inverses);
        if (item + 2 < end) arrive_barrier(3 + buffer, threads);
      } else {
        arrive_barrier(1 + buffer, threads);
      }
      before_that = before;
      before = owner;
      owner = owner + 1 == warps ? 0 : owner + 1;
    }
  }
  if (task.plan.slabs == 1) return;
  meet_all_blocks(task.workspace.counters);
  sum_slabs<kRows>(task, inverses);
}

template <class Form, int kRows>
void launch_decode_rows(const Stream& stream, const DecodeTask& task) {
  const DecodeMemory<Form, kRows> memory(task.weight, task.plan.warps);
  launch(stream, multiply_stream<Form, kRows>, task.plan.blocks, 32 * task.plan.warps,
         memory.bytes(), task);
}

// The kernel for so many rows.
template <class Form>
void launch_decode(const Stream& stream, const DecodeTask& task) {
  if (task.rows.count <= 4) return launch_decode_rows<Form, 4>(stream, task);
  if (task.rows.count <= 8) return launch_decode_rows<Form, 8>(stream, task);
  launch_decode_rows<Form, 16>(stream, task);
}

}  // namespace dinfer::cuda
