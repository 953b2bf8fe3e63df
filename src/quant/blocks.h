#pragma once

#include <cstddef>
#include <cstdint>

#include "checkpoint/checkpoint.h"

namespace dinfer {

// Which member of the grouped family (quant/matrix.h) holds a block type's values exactly.
struct GroupedForm {
  int bits;
  int group;
  bool symmetric;
};

// True of the block types of GGUF, false of F32, F16 and BF16.
inline bool is_blocked(StorageType type) { return traits_of(type).block_elements > 1; }

GroupedForm form_of(StorageType type);

// Unpacks `count` consecutive blocks: with n = count * block_elements values, writes n * bits / 8
// bytes of codes and n / group scales, and as many minimums where the form is not symmetric.
void unpack_blocks(StorageType type, const std::byte* blocks, int64_t count, uint8_t* codes,
                   float* scales, float* minimums);

}  // namespace dinfer
