#include "checkpoint/packed_parts.h"

namespace dinfer {

// weight F8_E4M3 [rows, columns] and weight_scale_inv or weight_scale, by which it is multiplied:
// of one element, [rows] or [rows, 1] for each output, or one for each block of rows and columns,
// the last of which may be smaller.
TensorInfo fp8_matrix(const PackedParts& parts, const QuantizationConfig& config) {
  const TensorInfo& codes = parts.codes();
  const TensorInfo* inverse = parts.find("weight_scale_inv");
  const TensorInfo& scales = inverse ? *inverse : parts.get("weight_scale");
  parts.expect_matrix(codes);
  parts.expect_scales_type(scales);

  const int64_t rows = codes.shape[0], columns = codes.shape[1];
  PackedWeight packed{.layout = CodeLayout::fp8, .bits = 8, .codes = codes, .scales = scales};
  if (parts.is_single(scales)) {
    packed.block_rows = rows;
    packed.block_columns = columns;
    packed.scales.shape = {1, 1};
  } else if (scales.shape == std::vector{rows} || scales.shape == std::vector{rows, int64_t{1}}) {
    packed.block_columns = columns;
    packed.scales.shape = {rows, 1};
  } else {
    packed.block_rows = config.block_rows;
    packed.block_columns = config.block_columns;
    parts.expect_shape(
        scales,
        {(rows + packed.block_rows - 1) / packed.block_rows,
         (columns + packed.block_columns - 1) / packed.block_columns},
        fmt::format("a scale for each block of {} x {}", packed.block_rows, packed.block_columns));
  }
  return parts.matrix(std::move(packed), rows, columns);
}

}  // namespace dinfer
