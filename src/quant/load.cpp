#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "checkpoint/printable.h"
#include "quant/blocks.h"
#include "quant/grouped.h"
#include "quant/packed.h"
#include "quant/plain.h"
#include "quant/quantize.h"
#include "quant/quantize_groups.h"
#include "quant/read_rows.h"

namespace dinfer {

namespace {

constexpr int kLeastGroup = 16;

std::string where(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  return checkpoint.file_of(tensor) + ": tensor " + printable(tensor.name);
}

void check_plain_finite(const Checkpoint& checkpoint, const TensorInfo& tensor,
                        const std::byte* data, int64_t count, int64_t first_row,
                        int64_t first_column, int64_t columns) {
  const auto at = find_not_finite(plain_type(tensor), data, count);
  if (!at) return;
  fail(ExitCode::model_files, "{}: the weight at row {}, column {} is NaN or infinite",
       where(checkpoint, tensor), first_row + *at / columns, first_column + *at % columns);
}

DenseMatrix load_dense(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice) {
  DenseMatrix out{plain_type(tensor),
                  slice.row_end - slice.row_begin,
                  slice.column_end - slice.column_begin,
                  {}};
  out.data.resize(out.rows * out.columns * static_cast<int64_t>(bytes_of(out.type)));
  read_plain(checkpoint, tensor, slice, out.data.data());
  return out;
}

// Scales and minimums of a block type, whose row 0 is `first_row` of the tensor.
void check_groups_finite(const Checkpoint& checkpoint, const TensorInfo& tensor,
                         const GroupedMatrix& matrix, int64_t first_row, int64_t first_column) {
  for (const std::vector<float>* numbers : {&matrix.scales, &matrix.minimums}) {
    const auto at = find_not_finite(DType::f32, reinterpret_cast<const std::byte*>(numbers->data()),
                                    std::ssize(*numbers));
    if (!at) continue;
    fail(ExitCode::model_files,
         "{}: the scale of the block at row {}, column {} is NaN or infinite",
         where(checkpoint, tensor), first_row + *at / matrix.groups(),
         first_column + *at % matrix.groups() * matrix.group);
  }
}

HostMatrix load_blocked(const Checkpoint& checkpoint, const TensorInfo& tensor,
                        const Slice& slice) {
  const auto& [name, block_elements, block_bytes] = traits_of(tensor.type);
  const GroupedForm form = form_of(tensor.type);
  // The blocks that cover the columns.
  const int64_t begin = slice.column_begin / block_elements;
  const int64_t end = (slice.column_end + block_elements - 1) / block_elements;
  const int64_t row_blocks = tensor.shape[1] / block_elements;
  const int64_t blocks = end - begin;
  GroupedMatrix out = make_grouped(form.bits, form.group, form.symmetric,
                                   slice.row_end - slice.row_begin, blocks * block_elements);
  if (out.codes.empty()) return out;
  const int64_t row_codes = out.columns * out.bits / 8;
  const auto unpack = [&](const std::byte* data, int64_t row, int64_t count) {
    const int64_t group = row * out.groups();
    unpack_blocks(tensor.type, data, count, out.codes.data() + row * row_codes,
                  out.scales.data() + group,
                  form.symmetric ? nullptr : out.minimums.data() + group);
  };
  read_rows(checkpoint, tensor, row_blocks * block_bytes, slice.row_begin, slice.row_end,
            begin * block_bytes, end * block_bytes,
            [&](int64_t row, int64_t rows, const std::byte* data, int64_t stride) {
              const int64_t to = row - slice.row_begin;
              if (stride == blocks * block_bytes) return unpack(data, to, rows * blocks);
              for (int64_t i = 0; i < rows; ++i) unpack(data + i * stride, to + i, blocks);
            });
  check_groups_finite(checkpoint, tensor, out, slice.row_begin, begin * block_elements);
  const int64_t shift = begin * block_elements;
  return slice_columns(std::move(out), slice.column_begin - shift, slice.column_end - shift);
}

// The slice's values row by row: use(row of the slice, values).
template <class Use>
void read_values(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                 Use use) {
  if (tensor.packed) return read_packed_rows(checkpoint, tensor, slice, use);
  const DType type = plain_type(tensor);
  const auto size = static_cast<int64_t>(bytes_of(type));
  const int64_t begin = slice.column_begin, width = slice.column_end - begin;
  std::vector<float> values(width);
  read_rows(checkpoint, tensor, tensor.shape[1] * size, slice.row_begin, slice.row_end,
            begin * size, slice.column_end * size,
            [&](int64_t row, int64_t rows, const std::byte* data, int64_t stride) {
              for (int64_t i = 0; i < rows; ++i, data += stride) {
                check_plain_finite(checkpoint, tensor, data, width, row + i, begin, width);
                to_f32(type, data, width, values.data());
                use(row + i - slice.row_begin, values.data());
              }
            });
}

// Reads the groups that cover the slice and rounds them as they come.
HostMatrix load_quantized(const Checkpoint& checkpoint, const TensorInfo& tensor,
                          const Slice& slice, int bits, int group) {
  Slice covering = slice;
  covering.column_begin = slice.column_begin / group * group;
  covering.column_end = (slice.column_end + group - 1) / group * group;
  const int64_t begin = covering.column_begin, width = covering.column_end - begin;
  GroupedMatrix out = make_grouped(bits, group, bits == 8, slice.row_end - slice.row_begin, width);
  const std::string name = where(checkpoint, tensor);
  read_values(checkpoint, tensor, covering, [&](int64_t row, const float* values) {
    quantize_groups(values, width, bits, group, out.codes.data() + row * width * bits / 8,
                    out.scales.data() + row * out.groups(),
                    bits == 8 ? nullptr : out.minimums.data() + row * out.groups(), name);
  });
  return slice_columns(std::move(out), slice.column_begin - begin, slice.column_end - begin);
}

// Values that no plain type has as they are: rounded to f16.
void read_packed_plain(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                       std::byte* to) {
  const int64_t width = slice.column_end - slice.column_begin;
  const int64_t row_bytes = width * static_cast<int64_t>(sizeof(uint16_t));
  read_packed_halves(checkpoint, tensor, slice, [&](int64_t row, const uint16_t* values) {
    std::byte* of_row = to + row * row_bytes;
    std::memcpy(of_row, values, row_bytes);
    if (const auto at = find_not_finite(DType::f16, of_row, width)) {
      fail(ExitCode::model_files,
           "{}: the weight at row {}, column {} is too large for f16: use --quant 8 or 4",
           where(checkpoint, tensor), slice.row_begin + row, slice.column_begin + *at);
    }
  });
}

void check_slice(const TensorInfo& tensor, const Slice& slice) {
  check(tensor.shape.size() == 2, "a matrix has two dimensions");
  check(0 <= slice.row_begin && slice.row_begin <= slice.row_end &&
            slice.row_end <= tensor.shape[0] && 0 <= slice.column_begin &&
            slice.column_begin <= slice.column_end && slice.column_end <= tensor.shape[1],
        "slice outside the tensor");
}

}  // namespace

DType plain_type(const TensorInfo& tensor) {
  switch (tensor.type) {
    case StorageType::f32:
      return DType::f32;
    case StorageType::f16:
    case StorageType::packed:
      return DType::f16;
    case StorageType::bf16:
      return DType::bf16;
    default:
      throw Bug("a block type has no plain type");
  }
}

QuantSpec fitting_quantization(const QuantSpec& asked, int64_t columns) {
  const auto group = static_cast<int>(std::gcd(columns, int64_t{asked.group}));
  if (asked.bits == 0 || group < kLeastGroup) return {};
  return {asked.bits, group};
}

void read_plain(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                std::byte* to) {
  check_slice(tensor, slice);
  if (tensor.packed) return read_packed_plain(checkpoint, tensor, slice, to);
  const int64_t columns = tensor.shape[1];
  const int64_t width = slice.column_end - slice.column_begin;
  const auto size = static_cast<int64_t>(bytes_of(plain_type(tensor)));
  if (width == columns) {  // contiguous: read in place
    const int64_t rows_a_piece = std::max<int64_t>(1, kPieceBytes / (columns * size));
    for (int64_t row = slice.row_begin; row < slice.row_end; row += rows_a_piece) {
      const int64_t count = std::min(rows_a_piece, slice.row_end - row) * columns;
      checkpoint.read(tensor, row * columns * size, {to, static_cast<size_t>(count * size)});
      check_plain_finite(checkpoint, tensor, to, count, row, 0, columns);
      to += count * size;
    }
    return;
  }
  read_rows(checkpoint, tensor, columns * size, slice.row_begin, slice.row_end,
            slice.column_begin * size, slice.column_end * size,
            [&](int64_t row, int64_t rows, const std::byte* data, int64_t stride) {
              for (int64_t i = 0; i < rows; ++i, to += width * size) {
                std::memcpy(to, data + i * stride, width * size);
                check_plain_finite(checkpoint, tensor, to, width, row + i, slice.column_begin,
                                   width);
              }
            });
}

HostMatrix load_matrix(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                       const QuantSpec& quant) {
  check_slice(tensor, slice);
  if (is_blocked(tensor.type)) return load_blocked(checkpoint, tensor, slice);
  if (stored_group(tensor) > 0) return load_packed(checkpoint, tensor, slice);
  const int64_t rows = slice.row_end - slice.row_begin;
  const int64_t columns = slice.column_end - slice.column_begin;
  // A tensor without elements may have a dimension of any size, so nothing is computed from it.
  if (rows == 0 || columns == 0) return DenseMatrix{plain_type(tensor), rows, columns, {}};
  const QuantSpec spec = fitting_quantization(quant, tensor.shape[1]);
  if (spec.bits == 0) return load_dense(checkpoint, tensor, slice);
  return load_quantized(checkpoint, tensor, slice, spec.bits, spec.group);
}

std::vector<float> load_vector(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  check(tensor.shape.size() == 1, "a vector has one dimension");
  return load_vector(checkpoint, tensor, 0, tensor.shape[0]);
}

std::vector<float> load_vector(const Checkpoint& checkpoint, const TensorInfo& tensor,
                               int64_t begin, int64_t end) {
  check(tensor.shape.size() == 1 && 0 <= begin && begin <= end && end <= tensor.shape[0],
        "elements outside the vector");
  if (is_blocked(tensor.type)) {
    fail(ExitCode::model_files, "{}: is stored as {}; a vector must be F32, F16 or BF16",
         where(checkpoint, tensor), traits_of(tensor.type).name);
  }
  const DType type = plain_type(tensor);
  const auto size = static_cast<int64_t>(bytes_of(type));
  std::vector<std::byte> data((end - begin) * size);
  checkpoint.read(tensor, begin * size, data);
  if (const auto at = find_not_finite(type, data.data(), end - begin)) {
    fail(ExitCode::model_files, "{}: element {} is NaN or infinite", where(checkpoint, tensor),
         begin + *at);
  }
  std::vector<float> out(end - begin);
  to_f32(type, data.data(), end - begin, out.data());
  return out;
}

}  // namespace dinfer
