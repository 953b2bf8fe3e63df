#include <array>

#include "checkpoint/packed_parts.h"

namespace dinfer {

namespace {

// The second number of weight_shape (I64 [2]): inputs.
int64_t stored_columns(const PackedParts& parts) {
  const TensorInfo& shape = parts.get("weight_shape");
  parts.expect_type(shape, {StorageType::i64});
  parts.expect_shape(shape, {2}, "outputs and inputs");
  std::array<int64_t, 2> sizes{};
  parts.checkpoint().read(shape, 0, std::as_writable_bytes(std::span(sizes)));
  return sizes[1];
}

// Bits of the codes whose rows take `words` words.
int code_bits(const PackedParts& parts, const QuantizationConfig& config, int64_t words) {
  if (config.bits.size() == 1) return config.bits.front();
  const int64_t columns = stored_columns(parts);
  for (const int bits : config.bits) {
    if (columns == words * 32 / bits) return bits;
  }
  parts.refuse(
      parts.codes(),
      fmt::format("has rows of {} words for the {} inputs of its weight_shape: no codes of "
                  "the bits that {} names",
                  words, columns, config.where));
}

// Files of 2024 have the zero of a symmetric matrix with one scale, too: 0.
bool is_single_zero(const PackedParts& parts, const TensorInfo& zeros) {
  if (!parts.is_single(zeros) || zeros.type != StorageType::i8) return false;
  std::byte zero{};
  parts.checkpoint().read(zeros, 0, {&zero, 1});
  return zero == std::byte{0};
}

}  // namespace

// weight_packed I32 [rows, columns * bits / 32] or weight I8 [rows, columns], weight_scale [rows,
// groups] or of one element, weight_zero_point I32 [rows * bits / 32, groups] or I8 [rows, groups],
// weight_g_idx I32 [columns]: https://github.com/vllm-project/compressed-tensors, formats
// pack-quantized and int-quantized.
TensorInfo compressed_matrix(const PackedParts& parts, const QuantizationConfig& config) {
  const TensorInfo& codes = parts.codes();
  const TensorInfo& scales = parts.get("weight_scale");
  const bool bytes = codes.type == StorageType::i8;
  if (!bytes) parts.expect_type(codes, {StorageType::i32});
  parts.expect_matrix(codes);
  parts.expect_scales_type(scales);

  const int bits = bytes ? 8 : code_bits(parts, config, codes.shape[1]);
  const int64_t codes_a_word = 32 / bits;
  const int64_t rows = codes.shape[0];
  const int64_t columns = bytes ? codes.shape[1] : codes.shape[1] * codes_a_word;
  PackedWeight packed{.layout = bytes ? CodeLayout::bytes : CodeLayout::rows,
                      .bits = bits,
                      .codes = codes,
                      .scales = scales};
  if (parts.is_single(scales)) {
    packed.block_rows = rows;
    packed.block_columns = columns;
    packed.scales.shape = {1, 1};
  } else {
    const bool channels = scales.shape == std::vector{rows};
    if (!channels) parts.expect_matrix(scales);
    const int64_t blocks = channels ? 1 : scales.shape[1];
    if (!channels) parts.expect_shape(scales, {rows, blocks}, "scales for each output");
    packed.block_columns = parts.block_columns(config, scales, columns, blocks);
    packed.scales.shape = {rows, blocks};
  }
  const int64_t blocks = packed.blocks(columns);
  const TensorInfo* zeros = parts.find("weight_zero_point");
  if (zeros && !(parts.is_single(scales) && is_single_zero(parts, *zeros))) {
    parts.expect_type(*zeros, {StorageType::i32, StorageType::i8});
    const int64_t zero_rows =
        zeros->type == StorageType::i8 ? rows : (rows + codes_a_word - 1) / codes_a_word;
    parts.expect_shape(*zeros, {zero_rows, blocks}, "zeros for each output and group");
    packed.symmetric = false;
    packed.zeros = *zeros;
  }
  if (const TensorInfo* order = parts.find("weight_g_idx")) {
    parts.expect_type(*order, {StorageType::i32});
    parts.expect_shape(*order, {columns}, "the group of each input");
    packed.order = *order;
    packed.by_activation = blocks > 1;
  }
  return parts.matrix(std::move(packed), rows, columns);
}

}  // namespace dinfer
