#pragma once

#include <algorithm>

#include "kernels/cuda/decode_forms.cuh"
#include "kernels/cuda/grid_meeting.cuh"

namespace dinfer::cuda {

// Where things are in a block's shared memory.
template <class Form>
struct DecodeMemory {
  static constexpr int kRows = Form::kRows;
  using B = Batch<kRows>;
  static constexpr int kPartial = kPanel * B::kColumns;  // floats of a warp and item
  static constexpr int kInputSums =
      Form::kGrouped ? B::kSteps / Form::kGroupSteps * B::kColumns : 0;  // floats of a warp

  int stage_bytes, ring_bytes, warps;

  __host__ __device__ explicit DecodeMemory(const DecodeTask& task)
      : stage_bytes(Form::stage_bytes(task)),
        ring_bytes(stage_bytes * Form::kDepth),
        warps(task.plan.warps) {}

  __host__ __device__ int partials() const { return warps * ring_bytes; }
  // Two items' sums; before there are any, inputs on their way to registers.
  __host__ __device__ int input_sums() const {
    constexpr int kFloats = 2 * kPartial > B::kWidth ? 2 * kPartial : B::kWidth;
    return partials() + warps * kFloats * 4;
  }
  __host__ __device__ int squares() const { return input_sums() + warps * kInputSums * 4; }
  __host__ __device__ int inverses() const { return squares() + kFusedRows * warps * 4; }
  __host__ __device__ int bytes() const { return inverses() + kRows * 4; }
};

// A warp's ring: stages of its columns of the block's items, in order.
template <class Form>
class Ring {
 public:
  __device__ Ring(const DecodeTask& task, int begin, int end, uint32_t memory, int stage_bytes)
      : write_(memory),
        read_(memory),
        memory_(memory),
        stage_bytes_(stage_bytes),
        panel_(begin % task.panels),
        items_(end - begin),
        stages_(task.plan.warp_columns / Form::kStageColumns),
        left_(stages_),
        first_column_((begin / task.panels * task.plan.warps + static_cast<int>(threadIdx.x) / 32) *
                      task.plan.warp_columns),
        source_(task, panel_, first_column_) {}

  // Starts copying the next stage to where the latest one read was.
  __device__ void fetch(const DecodeTask& task) {
    if (items_ > 0) {
      source_.fetch(task, write_);
      if (--left_ == 0) next_item(task);
    }
    commit_copies();
    write_ = next(write_);
  }

  // The oldest stage. To be followed by a fetch().
  __device__ uint32_t read() {
    wait_copies<Form::kDepth - 1>();
    const uint32_t stage = read_;
    read_ = next(read_);
    return stage;
  }

 private:
  __device__ void next_item(const DecodeTask& task) {
    left_ = stages_;
    if (--items_ == 0) return;
    if (++panel_ < task.panels) {
      source_.next_panel(task, stages_);
    } else {
      panel_ = 0;
      first_column_ += task.plan.warps * task.plan.warp_columns;
      source_ = typename Form::Source(task, panel_, first_column_);
    }
  }

  __device__ uint32_t next(uint32_t at) const {
    at += stage_bytes_;
    return at == memory_ + Form::kDepth * stage_bytes_ ? memory_ : at;
  }

  uint32_t write_, read_, memory_;
  int stage_bytes_, panel_, items_, stages_, left_, first_column_;
  typename Form::Source source_;
};

// 1 / rms of each row, or 1, in as many threads as there are rows. `squares`: [rows, parts] sums,
// of all warps' columns where there is one slab, else to be found here.
__device__ inline void find_inverses(const DecodeTask& task, int padded_rows, float* squares,
                                     float* inverses) {
  const Rows& rows = task.rows;
  const int warps = static_cast<int>(blockDim.x) / 32, thread = static_cast<int>(threadIdx.x);
  if (rows.kind == Rows::Kind::normed && task.plan.slabs > 1) {
    for (int r = 0; r < rows.count; ++r) {
      const float* x = rows.data + r * rows.stride;
      float sum = 0.0f;
#pragma unroll 4
      for (int c = thread; c < static_cast<int>(rows.columns); c += 32 * warps) sum += x[c] * x[c];
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
      if (thread % 32 == 0) squares[r * warps + thread / 32] = sum;
    }
  }
  if (rows.kind == Rows::Kind::normed) __syncthreads();
  if (thread >= padded_rows) return;
  float inverse = 1.0f;
  if (rows.kind == Rows::Kind::normed && thread < rows.count) {
    float sum = 0.0f;
    for (int w = 0; w < warps; ++w) sum += squares[thread * warps + w];
    inverse = rsqrtf(sum / static_cast<float>(rows.columns) + rows.epsilon);
  }
  inverses[thread] = inverse;
}

// Products of weight row `row` with input rows n .. n + 3.
__device__ inline void finish(const DecodeTask& task, int row, int n, const float4& sums,
                              const float* inverses) {
  if (row >= task.weight_rows) return;
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
  const int panels = task.panels, lane = threadIdx.x % 32;
  const int slab = item / panels, panel = item - slab * panels;
#pragma unroll
  for (int i = lane; i < kPanel * kQuads; i += 32) {
    float4 sum{};
    for (int w = 0; w < task.plan.warps; ++w) {
      const float4 v = reinterpret_cast<const float4*>(partials + w * kPanel * B::kColumns)[i];
      sum = {sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w};
    }
    if (kRows == 1) {  // high pieces' products are in even quads, low ones' in odd
      sum.x += __shfl_xor_sync(~0u, sum.x, 1);
      sum.y += __shfl_xor_sync(~0u, sum.y, 1);
      sum.z += __shfl_xor_sync(~0u, sum.z, 1);
      sum.w += __shfl_xor_sync(~0u, sum.w, 1);
      if (lane % 2 == 1) continue;
    }
    const int row = panel * static_cast<int>(kPanel) + i / kQuads;
    const int quad = kRows == 1 ? 0 : i % kQuads;
    if (task.plan.slabs == 1) {
      finish(task, row, 4 * quad, sum, inverses);
    } else {
      const int64_t at = int64_t{slab} * panels * kPanel + row;
      reinterpret_cast<float4*>(task.workspace.partial)[at * B::kOutputQuads + quad] = sum;
    }
  }
}

template <int kRows>
__device__ void sum_slabs(const DecodeTask& task, const float* inverses) {
  const int rows = task.weight_rows, quads = Batch<kRows>::kOutputQuads;
  const int64_t slab = kPanel * task.panels * quads;
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

template <class Form>
__global__ void __launch_bounds__(32 * kDecodeMostWarps, 2)
    multiply_stream(const __grid_constant__ DecodeTask task) {
  constexpr int kRows = Form::kRows;
  using B = Batch<kRows>;
  using Memory = DecodeMemory<Form>;
  extern __shared__ __align__(128) std::byte shared[];
  let_successor_start();
  const Memory memory(task);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = threadIdx.x % 32;
  const int panels = task.panels;
  const int64_t items = int64_t{panels} * task.plan.slabs;
  const int begin = static_cast<int>(items * blockIdx.x / gridDim.x);
  const int end = static_cast<int>(items * (blockIdx.x + 1) / gridDim.x);

  Ring<Form> ring(task, begin, end, shared_address(shared) + warp * memory.ring_bytes,
                  memory.stage_bytes);
#pragma unroll 1
  for (int i = 0; i < Form::kDepth; ++i) ring.fetch(task);
  wait_for_predecessor();

  auto* partials = reinterpret_cast<float*>(shared + memory.partials());
  auto* squares = reinterpret_cast<float*>(shared + memory.squares());
  auto* inverses = reinterpret_cast<float*>(shared + memory.inverses());
  const int warps = task.plan.warps, threads = 32 * warps;
  auto* staged = reinterpret_cast<uint32_t*>(partials) + warp * B::kWidth;
  const typename Inputs<Form>::Memory inputs{
      staged, staged + B::kWidth / 2,
      reinterpret_cast<float*>(shared + memory.input_sums()) + warp * Memory::kInputSums,
      Form::sum_factor(task), squares + warp};
  Inputs<Form> x;
  int owner = 0, before = -1, before_that = -1;  // warps that sum this item, and the last two
#pragma unroll 1
  for (int item = begin; item < end;) {
    const int slab = item / panels, stop = min(end, (slab + 1) * panels);
    if (item > begin) __syncthreads();  // the last sums have been read
    x.load(task.rows, (slab * warps + warp) * task.plan.warp_columns, task.plan.warp_columns,
           inputs);
    if (item == begin) find_inverses(task, kRows, squares, inverses);
    __syncthreads();  // sums may take the place of staged inputs
#pragma unroll 1
    for (; item < stop; ++item) {
      Sums<kRows> sums;
#pragma unroll
      for (int column = 0; column < 16 * B::kSteps; column += Form::kStageColumns) {
        if (column >= task.plan.warp_columns) break;
        const uint32_t stage = ring.read();
        Form::multiply(task, stage, column / 16, x, inputs.sums, sums);
        ring.fetch(task);
      }
      const int buffer = (item - begin) % 2;
      if (before_that >= 0 && before_that != warp) wait_barrier<3>(buffer, threads);
      float* mine = partials + (buffer * warps + warp) * Memory::kPartial;
#pragma unroll
      for (int s = 0; s < B::kSums; ++s) {
        auto* at = reinterpret_cast<float2*>(mine + lane / 4 * B::kColumns + 8 * s + lane % 4 * 2);
        at[0] = {x.product(sums, s, 0), x.product(sums, s, 1)};
        at[4 * B::kColumns] = {x.product(sums, s, 2), x.product(sums, s, 3)};
      }
      if (warp == owner) {
        wait_barrier<1>(buffer, threads);
        sum_warps<kRows>(task, item, partials + buffer * warps * Memory::kPartial, inverses);
        if (item + 2 < end) arrive_barrier<3>(buffer, threads);
      } else {
        arrive_barrier<1>(buffer, threads);
      }
      before_that = before;
      before = owner;
      owner = owner + 1 == warps ? 0 : owner + 1;
    }
  }
  if (task.plan.slabs == 1) return;
  meet_all_blocks(task.workspace.counters, threads);
  sum_slabs<kRows>(task, inverses);
}

template <class Form>
void launch_decode(const Stream& stream, const DecodeTask& task) {
  const int threads = 32 * task.plan.warps;
  // So much shared memory that exactly so many blocks fit on a multiprocessor.
  const size_t least = stream.shared_memory_for(task.plan.together + 1) + 1;
  const size_t bytes = std::max<size_t>(DecodeMemory<Form>(task).bytes(), least);
  allow_shared_memory(multiply_stream<Form>, bytes);
  int together = 0;
  require(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&together, multiply_stream<Form>, threads,
                                                        bytes),
          "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  // Blocks that wait for each other must all run at the same time.
  const int blocks = std::min(task.plan.blocks, together * stream.multiprocessors);
  launch(stream, multiply_stream<Form>, blocks, threads, bytes, task);
}

}  // namespace dinfer::cuda
