#include "kernels/cpu/amx.h"

#include "kernels/cpu/amx_tile.h"

#if DINFER_AMX

#include <cpuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <csignal>
#include <cstdint>

namespace dinfer::cpu {
namespace {

bool announced() {
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;  // leaf 7, EDX
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  constexpr unsigned kAll = kBf16 | kTile | kInt8;
  return (edx & kAll) == kAll;
}

// Linux keeps the registers of tiles for processes that have asked (Documentation/arch/x86/xstate).
bool granted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

constexpr int kColumns = 16;  // of sums
constexpr int kPairs = kTileRowBytes / 2;

// Whole numbers that bf16 and bytes hold exactly, and whose sums are exact.
int left(int row, int k) { return (row * 7 + k * 5) % 23 - 11; }
int right(int k, int column) { return (k * 3 + column * 11) % 29; }

uint16_t to_bf16(int value) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(value)) >> 16);
}

int expected(int row, int column, int depth) {
  int sum = 0;
  for (int k = 0; k < depth; ++k) sum += left(row, k) * right(k, column);
  return sum;
}

__attribute__((target("amx-tile,amx-int8,amx-bf16"))) bool products_are_right() {
  alignas(64) int8_t a[kTileRows][kTileRowBytes];
  alignas(64) uint8_t b[kTileRows][kColumns][4];
  alignas(64) uint16_t a16[kTileRows][kPairs], b16[kTileRows][kColumns][2];
  for (int row = 0; row < kTileRows; ++row) {
    for (int k = 0; k < kTileRowBytes; ++k) a[row][k] = static_cast<int8_t>(left(row, k));
    for (int k = 0; k < kPairs; ++k) a16[row][k] = to_bf16(left(row, k));
    for (int column = 0; column < kColumns; ++column) {
      for (int i = 0; i < 4; ++i) {
        b[row][column][i] = static_cast<uint8_t>(right(4 * row + i, column));
      }
      for (int i = 0; i < 2; ++i) b16[row][column][i] = to_bf16(right(2 * row + i, column));
    }
  }
  TileShapes shapes;
  for (int tile = 0; tile < 7; ++tile) shapes.set(tile, kTileRows, kTileRowBytes);
  shape_tiles(shapes);
  clear_tile<0>();
  clear_tile<1>();
  clear_tile<2>();
  load_tile<3>(a, kTileRowBytes);
  load_tile<4>(b, kTileRowBytes);
  load_tile<5>(a16, kTileRowBytes);
  load_tile<6>(b16, kTileRowBytes);
  add_signed_products<0, 3, 4>();
  add_signed_unsigned_products<1, 3, 4>();
  add_bf16_products<2, 5, 6>();
  alignas(64) int32_t sums[2][kTileRows][kColumns];
  alignas(64) float sums16[kTileRows][kColumns];
  store_tile<0>(sums[0], kTileRowBytes);
  store_tile<1>(sums[1], kTileRowBytes);
  store_tile<2>(sums16, kTileRowBytes);
  release_tiles();
  for (int row = 0; row < kTileRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      const int sum = expected(row, column, kTileRowBytes);
      if (sums[0][row][column] != sum || sums[1][row][column] != sum) return false;
      if (sums16[row][column] != static_cast<float>(expected(row, column, kPairs))) return false;
    }
  }
  return true;
}

// In a child whose end nobody but this function hears of: no SIGCHLD, and none of the handlers that
// libraries have for fork().
bool tried_out() {
  const long child = syscall(SYS_clone, 0, nullptr, nullptr, nullptr, 0);
  if (child == 0) {
    signal(SIGILL, SIG_DFL);
    prctl(PR_SET_DUMPABLE, 0);  // leaves no core file
    _exit(products_are_right() ? 0 : 1);
  }
  if (child < 0) return false;
  int status = 0;
  while (waitpid(static_cast<pid_t>(child), &status, __WALL) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

bool amx_works() {
  static const bool works = announced() && granted() && tried_out();
  return works;
}

}  // namespace dinfer::cpu

#else

namespace dinfer::cpu {

bool amx_works() { return false; }

}  // namespace dinfer::cpu

#endif  // DINFER_AMX
