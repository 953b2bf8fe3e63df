#include "base/error.h"
#include "checkpoint/packed_weight.h"

namespace dinfer {

const StorageTraits& traits_of(StorageType type) {
  static constexpr StorageTraits kTraits[] = {
      {"F32", 1, 4},      {"F16", 1, 2},      {"BF16", 1, 2},     {"Q4_0", 32, 18},
      {"Q4_1", 32, 20},   {"Q5_0", 32, 22},   {"Q5_1", 32, 24},   {"Q8_0", 32, 34},
      {"Q2_K", 256, 84},  {"Q3_K", 256, 110}, {"Q4_K", 256, 144}, {"Q5_K", 256, 176},
      {"Q6_K", 256, 210}, {"I8", 1, 1},       {"I32", 1, 4},      {"I64", 1, 8},
      {"F8_E4M3", 1, 1},  {"packed", 1, 0},
  };
  const auto index = static_cast<size_t>(type);
  check(index < std::size(kTraits), "unknown storage type");
  return kTraits[index];
}

int64_t stored_group(const TensorInfo& tensor) {
  if (tensor.packed) return tensor.packed->group;
  const int elements = traits_of(tensor.type).block_elements;
  return elements > 1 ? elements : 0;
}

}  // namespace dinfer
