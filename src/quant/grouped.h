#pragma once

#include <cstdint>

#include "quant/matrix.h"

namespace dinfer {

// A matrix of the form with room for all its codes, scales and (unless symmetric) minimums.
GroupedMatrix make_grouped(int bits, int group, bool symmetric, int64_t rows, int64_t columns);

// Columns [begin, end). Groups that the cut splits become finer; where they would get smaller than
// 16 columns, the result is dense f32.
HostMatrix slice_columns(GroupedMatrix matrix, int64_t begin, int64_t end);

// The same values with groups of `group` columns, a divisor of the present size.
GroupedMatrix split_groups(GroupedMatrix matrix, int group);

// The same values in 8 bits, or with minimums. Do nothing where that holds already.
GroupedMatrix widen_codes(GroupedMatrix matrix);
GroupedMatrix add_minimums(GroupedMatrix matrix);

}  // namespace dinfer
