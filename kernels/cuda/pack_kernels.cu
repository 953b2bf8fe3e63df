#include "kernels/cuda/pack_kernels.h"

#include "kernels/cuda/element.cuh"

// Order of a quantised matrix. A tensor-core instruction takes 16 rows x 16 columns from a warp;
// lane 4 g + t gives rows g and g + 8, and of the columns, whose order is free, we give it
// 4 t .. 4 t + 3. So that a lane reads 16 bytes at a time, a panel of 16 rows is cut in blocks of
// 64 columns = 4 steps of 16:
//   4 bits: block [lane][step] words of 8 nibbles; from the lowest, nibbles 0 4 1 5 are row g's
//   four
//           columns, 2 6 3 7 those of row g + 8
//   8 bits: block [step / 2][lane][step % 2][row g, row g + 8] words of 4 bytes; bytes 0 2 1 3 are
//           the four columns
// Two columns are thus 16 bits apart: masking a word yields pairs of 16-bit numbers.
// Scales: [panel][group][g][scale of g, of g + 8 (, minimum of g, of g + 8)].

namespace dinfer::cuda {
namespace {

constexpr int kThreads = 256;

__device__ uint32_t code_of(const PackedMatrix& m, const uint8_t* codes, int64_t row,
                            int64_t column) {
  if (row >= m.rows || column >= m.columns) return 0;
  if (m.bits == 8) return codes[row * m.columns + column] ^ (m.symmetric ? 0x80u : 0u);
  const uint32_t pair = codes[(row * m.columns + column) / 2];
  return column % 2 == 0 ? pair & 15u : pair >> 4;
}

// One thread a quad of columns of a row (8 bits), or of rows g and g + 8 (4 bits): a word.
__global__ void pack_codes(RawGroups from, PackedMatrix to, int64_t words) {
  wait_for_predecessor();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= words) return;
  const int64_t quads = to.padded_columns() / 4;
  const int rows_of_word = to.bits == 4 ? 2 : 1;
  const int64_t column = i % quads * 4;
  const int64_t line = i / quads;  // of words
  const int64_t row = rows_of_word == 2 ? line / 8 * kPanel + line % 8 : line;
  uint32_t word = 0;
  for (int upper = 0; upper < rows_of_word; ++upper) {
    for (int c = 0; c < 4; ++c) {
      word |= code_of(to, from.codes, row + 8 * upper, column + c)
              << (8 * upper + bit_of(to.bits, c));
    }
  }
  reinterpret_cast<uint32_t*>(to.data)[place_of(to, row, column).word] = word;
}

// One thread a row and group.
__global__ void pack_scales(RawGroups from, PackedMatrix to, int64_t count) {
  wait_for_predecessor();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t group = i % to.padded_groups(), row = i / to.padded_groups();
  const int64_t groups = to.columns / to.group;
  const bool exists = row < to.rows && group < groups;
  const int64_t place = (row / kPanel * to.padded_groups() + group) * 8 + row % 8;
  const int each = to.symmetric ? 2 : 4;
  auto* out = const_cast<std::byte*>(to.scales());
  for (int kind = 0; kind < each / 2; ++kind) {
    const float* values = kind == 0 ? from.scales : from.minimums;
    const float value = exists ? values[row * groups + group] : 0.0f;
    const int64_t at = place * each + 2 * kind + row % kPanel / 8;
    if (to.half_scales) {
      reinterpret_cast<__half*>(out)[at] = __float2half_rn(value);
    } else {
      reinterpret_cast<float*>(out)[at] = value;
    }
  }
}

unsigned blocks_for(int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

}  // namespace

void pack_groups(const Stream& stream, const RawGroups& from, const PackedMatrix& to) {
  const int64_t words = static_cast<int64_t>(to.code_bytes() / 4);
  launch(stream, pack_codes, blocks_for(words), kThreads, 0, from, to, words);
  const int64_t scales = to.panels() * kPanel * to.padded_groups();
  launch(stream, pack_scales, blocks_for(scales), kThreads, 0, from, to, scales);
}

}  // namespace dinfer::cuda
