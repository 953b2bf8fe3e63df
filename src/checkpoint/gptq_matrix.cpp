#include "checkpoint/packed_parts.h"

namespace dinfer {

// qweight I32 [columns * bits / 32, rows], qzeros I32 [groups, rows * bits / 32], scales [groups,
// rows], g_idx I32 [columns]: the layout of AutoGPTQ (https://github.com/AutoGPTQ/AutoGPTQ) and
// GPTQModel.
TensorInfo gptq_matrix(const PackedParts& parts, const QuantizationConfig& config) {
  const TensorInfo& codes = parts.codes();
  const TensorInfo& scales = parts.get("scales");
  const TensorInfo& zeros = parts.get("qzeros");
  parts.expect_type(codes, {StorageType::i32});
  parts.expect_type(zeros, {StorageType::i32});
  parts.expect_scales_type(scales);
  for (const TensorInfo* tensor : {&codes, &scales, &zeros}) parts.expect_matrix(*tensor);

  const int64_t rows = codes.shape[1], blocks = scales.shape[0];
  const int64_t zero_words = zeros.shape[1];
  const int bits = zero_words * 8 == rows ? 4 : 8;
  if (zero_words * (32 / bits) != rows) {
    parts.refuse(zeros,
                 fmt::format("has {} words for the zeros of {} outputs; codes of 4 bits take "
                             "{}, of 8 bits {}, and others are not supported",
                             zero_words, rows, rows / 8, rows / 4));
  }
  parts.expect_shape(scales, {blocks, rows}, "a scale for each group and output");
  parts.expect_shape(zeros, {blocks, zero_words}, "zeros for each group of the scales");
  const int64_t columns = codes.shape[0] * (32 / bits);
  PackedWeight packed{.layout = CodeLayout::gptq,
                      .bits = bits,
                      .block_columns = parts.block_columns(config, scales, columns, blocks),
                      .by_activation = config.by_activation && blocks > 1,
                      .symmetric = config.symmetric,
                      .zero_offset = config.zero_offset,
                      .codes = codes,
                      .scales = scales,
                      .zeros = zeros};
  const TensorInfo* order = packed.by_activation ? &parts.get("g_idx") : parts.find("g_idx");
  if (order) {
    parts.expect_type(*order, {StorageType::i32});
    parts.expect_shape(*order, {columns}, "the group of each input");
    packed.order = *order;
  }
  return parts.matrix(std::move(packed), rows, columns);
}

}  // namespace dinfer
