#include "quant/blocks.h"

#include <cstring>

#include "base/dtype.h"
#include "base/error.h"

// Layouts: the structs block_q4_0 to block_q6_K of ggml-common.h. All are little-endian and without
// padding. In the comments i is an element's place in its block, q its stored number.

namespace dinfer {

namespace {

using Byte = uint8_t;

// Where unpacking writes; moves on by a block at a time.
struct Out {
  uint8_t* codes;
  float* scales;
  float* minimums;
};

float half(const Byte* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return f16_to_f32(bits);
}

// 8 bytes whose low nibbles are numbers 0..15 become 4 bytes of two numbers, the first one low.
uint32_t pack_nibbles(uint64_t x) {
  x = (x | x >> 4) & 0x00ff00ff00ff00ffu;
  x = (x | x >> 8) & 0x0000ffff0000ffffu;
  return static_cast<uint32_t>(x | x >> 16);
}

// `count` bytes (a multiple of 8), of which bits [shift, shift + 4) masked by `mask` are numbers,
// become count / 2 bytes of codes; `add` is added to each number.
void pack_codes(const Byte* in, int count, int shift, uint64_t mask, uint64_t add, uint8_t* codes) {
  for (int i = 0; i < count; i += 8) {
    uint64_t x;
    std::memcpy(&x, in + i, sizeof(x));
    const uint32_t packed = pack_nibbles((x >> shift & mask) + add);
    std::memcpy(codes + i / 2, &packed, sizeof(packed));
  }
}

constexpr uint64_t each_byte(uint8_t value) { return 0x0101010101010101u * value; }

// Elements 0..15 are the low nibbles, 16..31 the high ones.
void unpack_nibbles_32(const Byte* in, uint8_t* codes) {
  pack_codes(in, 16, 0, each_byte(15), 0, codes);
  pack_codes(in, 16, 4, each_byte(15), 0, codes + 8);
}

// value = d * (q - 8)
void unpack_q4_0(const Byte* block, Out out) {
  out.scales[0] = half(block);
  unpack_nibbles_32(block + 2, out.codes);
}

// value = d * q + m
void unpack_q4_1(const Byte* block, Out out) {
  out.scales[0] = half(block);
  out.minimums[0] = half(block + 2);
  unpack_nibbles_32(block + 4, out.codes);
}

// Nibbles as in Q4; the fifth bit of element i is bit i of `high`.
void unpack_fifth_bit_32(const Byte* nibbles, const Byte* high_bits, int minus, uint8_t* codes) {
  uint32_t high;
  std::memcpy(&high, high_bits, sizeof(high));
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<uint8_t>((nibbles[i] & 15) + (high >> i & 1) * 16 - minus);
    codes[i + 16] = static_cast<uint8_t>((nibbles[i] >> 4) + (high >> (i + 16) & 1) * 16 - minus);
  }
}

// value = d * (q - 16)
void unpack_q5_0(const Byte* block, Out out) {
  out.scales[0] = half(block);
  unpack_fifth_bit_32(block + 6, block + 2, 16, out.codes);
}

// value = d * q + m
void unpack_q5_1(const Byte* block, Out out) {
  out.scales[0] = half(block);
  out.minimums[0] = half(block + 2);
  unpack_fifth_bit_32(block + 8, block + 4, 0, out.codes);
}

// value = d * q
void unpack_q8_0(const Byte* block, Out out) {
  out.scales[0] = half(block);
  std::memcpy(out.codes, block + 2, 32);
}

// scales[16], q[64], d, dmin. 16 groups of 16: value = d * (scale & 15) * q - dmin * (scale >> 4).
// 2-bit numbers: of each 128 elements, 32j..32j+31 are bits 2j of 32 bytes.
void unpack_q2_k(const Byte* block, Out out) {
  const Byte* numbers = block + 16;
  const float d = half(block + 80);
  const float dmin = half(block + 82);
  for (int group = 0; group < 16; ++group) {
    out.scales[group] = d * static_cast<float>(block[group] & 15);
    out.minimums[group] = -(dmin * static_cast<float>(block[group] >> 4));
  }
  for (int run = 0; run < 8; ++run) {
    pack_codes(numbers + run / 4 * 32, 32, 2 * (run % 4), each_byte(3), 0, out.codes + run * 16);
  }
}

// high[32], q[64], scales[12], d. 16 groups of 16: value = d * (scale - 32) * (q + 4 * high - 4).
// Two low bits as in Q2_K; the high bit of run r (32 elements) is bit r of high[i % 32].
void unpack_q3_k(const Byte* block, Out out) {
  const Byte* high = block;
  const Byte* numbers = block + 32;
  const Byte* packed_scales = block + 96;
  const float d = half(block + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = group < 8 ? packed_scales[group] & 15 : packed_scales[group - 8] >> 4;
    const int top = packed_scales[8 + group % 4] >> (2 * (group / 4)) & 3;
    out.scales[group] = d * static_cast<float>((low | top << 4) - 32);
  }
  for (int run = 0; run < 8; ++run) {
    // Codes are the value's number plus 8: q + 4 * high + 4.
    for (int i = 0; i < 32; i += 8) {
      uint64_t low_bits, high_bits;
      std::memcpy(&low_bits, numbers + run / 4 * 32 + i, sizeof(low_bits));
      std::memcpy(&high_bits, high + i, sizeof(high_bits));
      const uint64_t low = low_bits >> (2 * (run % 4)) & each_byte(3);
      const uint64_t top = (high_bits >> run & each_byte(1)) << 2;
      const uint32_t packed = pack_nibbles(low + top + each_byte(4));
      std::memcpy(out.codes + run * 16 + i / 2, &packed, sizeof(packed));
    }
  }
}

// The eight 6-bit scales and minimums of Q4_K and Q5_K, packed into 12 bytes.
void unpack_scales_k(const Byte* packed, float d, float dmin, Out out) {
  for (int group = 0; group < 8; ++group) {
    int scale, minimum;
    if (group < 4) {
      scale = packed[group] & 63;
      minimum = packed[group + 4] & 63;
    } else {
      scale = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
      minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
    }
    out.scales[group] = d * static_cast<float>(scale);
    out.minimums[group] = -(dmin * static_cast<float>(minimum));
  }
}

// d, dmin, scales[12], q[128]. 8 groups of 32: value = d * scale * q - dmin * minimum.
// Of each 64 elements, the first 32 are the low nibbles of 32 bytes, the others the high ones.
void unpack_q4_k(const Byte* block, Out out) {
  unpack_scales_k(block + 4, half(block), half(block + 2), out);
  for (int group = 0; group < 8; ++group) {
    pack_codes(block + 16 + group / 2 * 32, 32, group % 2 * 4, each_byte(15), 0,
               out.codes + group * 16);
  }
}

// d, dmin, scales[12], high[32], q[128]. As Q4_K; the fifth bit of group g is bit g of high[i %
// 32].
void unpack_q5_k(const Byte* block, Out out) {
  unpack_scales_k(block + 4, half(block), half(block + 2), out);
  const Byte* high = block + 16;
  for (int group = 0; group < 8; ++group) {
    const Byte* nibbles = block + 48 + group / 2 * 32;
    uint8_t* codes = out.codes + group * 32;
    for (int i = 0; i < 32; ++i) {
      codes[i] =
          static_cast<uint8_t>((nibbles[i] >> (group % 2 * 4) & 15) | (high[i] >> group & 1) << 4);
    }
  }
}

// low[128], high[64], scales[16], d. 16 groups of 16: value = d * scale * (q - 32), 6 bits a
// number. Of each 128 elements, run r (32 elements) has its low four bits in the nibbles r / 2 of
// bytes 32 * (r % 2).. of 64, and its high two bits in bits 2r of 32 bytes.
void unpack_q6_k(const Byte* block, Out out) {
  const float d = half(block + 208);
  for (int group = 0; group < 16; ++group) {
    out.scales[group] = d * static_cast<float>(static_cast<int8_t>(block[192 + group]));
  }
  for (int part = 0; part < 2; ++part) {
    const Byte* high = block + 128 + part * 32;
    for (int run = 0; run < 4; ++run) {
      const Byte* low = block + part * 64 + run % 2 * 32;
      uint8_t* codes = out.codes + part * 128 + run * 32;
      for (int i = 0; i < 32; ++i) {
        const int number = (low[i] >> (run / 2 * 4) & 15) | (high[i] >> (2 * run) & 3) << 4;
        codes[i] = static_cast<uint8_t>(number - 32);
      }
    }
  }
}

template <void (*unpack)(const Byte*, Out), int kBytes, int kElements, int kBits, int kGroup>
void unpack_all(const Byte* blocks, int64_t count, Out out) {
  for (int64_t i = 0; i < count; ++i) {
    constexpr int kGroups = kElements / kGroup;
    float* minimums = out.minimums ? out.minimums + i * kGroups : nullptr;
    unpack(blocks + i * kBytes,
           {out.codes + i * (kElements * kBits / 8), out.scales + i * kGroups, minimums});
  }
}

}  // namespace

GroupedForm form_of(StorageType type) {
  switch (type) {
    case StorageType::q4_0:
      return {4, 32, true};
    case StorageType::q4_1:
      return {4, 32, false};
    case StorageType::q5_0:
      return {8, 32, true};
    case StorageType::q5_1:
      return {8, 32, false};
    case StorageType::q8_0:
      return {8, 32, true};
    case StorageType::q2_k:
      return {4, 16, false};
    case StorageType::q3_k:
      return {4, 16, true};
    case StorageType::q4_k:
      return {4, 32, false};
    case StorageType::q5_k:
      return {8, 32, false};
    case StorageType::q6_k:
      return {8, 16, true};
    default:
      throw Bug("a plain type has no grouped form");
  }
}

void unpack_blocks(StorageType type, const std::byte* blocks, int64_t count, uint8_t* codes,
                   float* scales, float* minimums) {
  const auto* in = reinterpret_cast<const Byte*>(blocks);
  const Out out{codes, scales, minimums};
  switch (type) {
    case StorageType::q4_0:
      return unpack_all<unpack_q4_0, 18, 32, 4, 32>(in, count, out);
    case StorageType::q4_1:
      return unpack_all<unpack_q4_1, 20, 32, 4, 32>(in, count, out);
    case StorageType::q5_0:
      return unpack_all<unpack_q5_0, 22, 32, 8, 32>(in, count, out);
    case StorageType::q5_1:
      return unpack_all<unpack_q5_1, 24, 32, 8, 32>(in, count, out);
    case StorageType::q8_0:
      return unpack_all<unpack_q8_0, 34, 32, 8, 32>(in, count, out);
    case StorageType::q2_k:
      return unpack_all<unpack_q2_k, 84, 256, 4, 16>(in, count, out);
    case StorageType::q3_k:
      return unpack_all<unpack_q3_k, 110, 256, 4, 16>(in, count, out);
    case StorageType::q4_k:
      return unpack_all<unpack_q4_k, 144, 256, 4, 32>(in, count, out);
    case StorageType::q5_k:
      return unpack_all<unpack_q5_k, 176, 256, 8, 32>(in, count, out);
    case StorageType::q6_k:
      return unpack_all<unpack_q6_k, 210, 256, 8, 16>(in, count, out);
    default:
      throw Bug("a plain type has no blocks");
  }
}

}  // namespace dinfer
