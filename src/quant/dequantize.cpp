#include "quant/plain.h"
#include "quant/quantize.h"

namespace dinfer {

namespace {

// One group. In double, where every product and sum of the family is exact, so that a value is
// rounded once and does not depend on the form that holds it.
void dequantize_group(const GroupedMatrix& matrix, int64_t g, float* out) {
  const double scale = matrix.scales[g];
  const double minimum = matrix.symmetric() ? 0.0 : matrix.minimums[g];
  const uint8_t* codes = matrix.codes.data() + g * matrix.group * matrix.bits / 8;
  if (matrix.bits == 4) {
    const int minus = matrix.symmetric() ? 8 : 0;
    for (int i = 0; i < matrix.group; i += 2) {
      out[i] = static_cast<float>(scale * ((codes[i / 2] & 15) - minus) + minimum);
      out[i + 1] = static_cast<float>(scale * ((codes[i / 2] >> 4) - minus) + minimum);
    }
  } else if (matrix.symmetric()) {
    for (int i = 0; i < matrix.group; ++i) {
      out[i] = static_cast<float>(scale * static_cast<int8_t>(codes[i]));
    }
  } else {
    for (int i = 0; i < matrix.group; ++i) {
      out[i] = static_cast<float>(scale * codes[i] + minimum);
    }
  }
}

}  // namespace

std::vector<float> dequantize(const HostMatrix& matrix) {
  std::vector<float> out(rows_of(matrix) * columns_of(matrix));
  if (const auto* dense = std::get_if<DenseMatrix>(&matrix)) {
    to_f32(dense->type, dense->data.data(), std::ssize(out), out.data());
    return out;
  }
  const auto& grouped = std::get<GroupedMatrix>(matrix);
  for (int64_t g = 0; g < std::ssize(grouped.scales); ++g) {
    dequantize_group(grouped, g, out.data() + g * grouped.group);
  }
  return out;
}

}  // namespace dinfer
