#pragma once

#include <cstdint>

#include "kernels/cpu/activations.h"

// AMX's instructions (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2) as
// functions. Written in assembly since GCC before 12.4 takes _tile_loadconfig to read 8 of its 64
// bytes, and the intrinsics of GCC do not say that loading a tile reads memory.

#if DINFER_AMX

#define DINFER_AMX_FUNCTION \
  __attribute__((target("amx-tile,amx-int8,amx-bf16"), always_inline)) inline

namespace dinfer::cpu {

// Bytes of a row of the largest tile.
constexpr int kTileRowBytes = 64;

// The shapes of the eight tiles, as LDTILECFG reads them.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int64_t of_rows, int64_t bytes) {
    rows[tile] = static_cast<uint8_t>(of_rows);
    row_bytes[tile] = static_cast<uint16_t>(bytes);
  }
};
static_assert(sizeof(TileShapes) == 64);

DINFER_AMX_FUNCTION void shape_tiles(const TileShapes& shapes) {
  asm volatile("ldtilecfg %0" : : "m"(shapes) : "memory");
}

// Until the next shape_tiles() there are no tiles, and switching threads saves none.
DINFER_AMX_FUNCTION void release_tiles() { asm volatile("tilerelease" : : : "memory"); }

// Rows of the tile from or to memory, `stride` bytes apart.
template <int kTile>
DINFER_AMX_FUNCTION void load_tile(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
DINFER_AMX_FUNCTION void store_tile(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
DINFER_AMX_FUNCTION void clear_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}

// sums[m][n] += sum over k of a[m][k] b[k / 4][n][k % 4]: 32-bit sums of products of signed bytes
// with signed or unsigned ones.
template <int kSums, int kA, int kB>
DINFER_AMX_FUNCTION void add_signed_products() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
}
template <int kSums, int kA, int kB>
DINFER_AMX_FUNCTION void add_signed_unsigned_products() {
  asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
}

// The same of bf16 numbers, b[k / 2][n][k % 2], with f32 sums. Sums of even and of odd k are formed
// apart, each product added with one rounding; numbers below the normal ones count as zero.
template <int kSums, int kA, int kB>
DINFER_AMX_FUNCTION void add_bf16_products() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
}

}  // namespace dinfer::cpu

#endif  // DINFER_AMX
