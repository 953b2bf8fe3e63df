#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace dinfer::cpu {

// Rows of a matrix are packed in panels of kPanel rows, interleaved so that one vector register
// holds the same columns of all rows of the panel, and a pass over a panel reads memory in order.
constexpr int64_t kPanel = 16;

// Columns of activations that share one scale, unless the weight's groups are smaller.
constexpr int kActivationBlock = 32;

enum class Packing : uint8_t { f32, f16, bf16, grouped };

// A weight matrix as the kernels read it; a view. Rows past `rows` in the last panel are zero.
//
// Dense: a panel is [columns][kPanel] elements.
// Grouped: a panel is a run of groups, each
//   scales   [kPanel], f16 or f32
//   minimums [kPanel], same type; absent where symmetric
//   codes: words [group * bits / 32][kPanel] of 4 bytes, little-endian
//     8 bits: word w holds columns 4w .. 4w + 3 of the group as unsigned codes; symmetric codes
//     have
//             128 added
//     4 bits: word w holds columns 8w .. 8w + 7: even columns in the low nibbles of its bytes, odd
//     ones
//             in the high nibbles (the order they have in memory before packing)
struct PackedMatrix {
  Packing packing = Packing::f32;
  int bits = 0;
  int group = 0;
  bool symmetric = true;
  bool half_scales = false;  // f16: used where that loses nothing
  int64_t rows = 0;
  int64_t columns = 0;
  std::byte* data = nullptr;

  int64_t panels() const { return (rows + kPanel - 1) / kPanel; }
  int block() const { return std::min(group, kActivationBlock); }
  // What a code means: scale * (code - offset) + minimum.
  int offset() const { return symmetric ? (bits == 4 ? 8 : 128) : 0; }

  size_t scale_bytes() const { return half_scales ? 2 : 4; }
  size_t code_bytes_of_group() const { return kPanel * group * bits / 8; }
  size_t group_bytes() const {
    return kPanel * scale_bytes() * (symmetric ? 1 : 2) + code_bytes_of_group();
  }
  size_t panel_bytes() const {
    if (packing == Packing::grouped) return columns / group * group_bytes();
    return kPanel * columns * (packing == Packing::f32 ? 4 : 2);
  }
  size_t bytes() const { return panels() * panel_bytes(); }
};

}  // namespace dinfer::cpu
