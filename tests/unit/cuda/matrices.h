#pragma once

#include <cmath>
#include <random>
#include <vector>

#include <cuda_runtime.h>

#include "kernels/cuda/error.h"
#include "kernels/cuda/pack.h"
#include "quant/matrix.h"

// Matrices with random values for tests of products, and what they mean in double precision.
namespace dinfer::cuda {

using Random = std::mt19937;

inline std::vector<float> random_values(Random& random, int64_t count, float deviation = 1.0f) {
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

inline HostMatrix random_dense(Random& random, DType type, int64_t rows, int64_t columns) {
  DenseMatrix m{type, rows, columns, RawBytes(rows * columns * bytes_of(type))};
  const std::vector<float> values = random_values(random, rows * columns, 0.05f);
  for (int64_t i = 0; i < rows * columns; ++i) {
    if (type == DType::f32) {
      reinterpret_cast<float*>(m.data.data())[i] = values[i];
    } else {
      reinterpret_cast<uint16_t*>(m.data.data())[i] =
          type == DType::f16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
    }
  }
  return m;
}

struct GroupedForm {
  int bits, group;
  bool symmetric, half;
};

inline HostMatrix random_grouped(Random& random, const GroupedForm& form, int64_t rows,
                                 int64_t columns) {
  GroupedMatrix m{.bits = form.bits, .group = form.group, .rows = rows, .columns = columns};
  m.codes.resize(rows * columns * form.bits / 8);
  for (uint8_t& code : m.codes) code = static_cast<uint8_t>(random());
  m.scales = random_values(random, rows * columns / form.group, 0.01f);
  if (!form.symmetric) m.minimums = random_values(random, rows * columns / form.group, 0.05f);
  for (auto* values : {&m.scales, &m.minimums}) {
    for (float& v : *values) v = form.half ? f16_to_f32(f32_to_f16(v)) : v;
  }
  return m;
}

inline double value_of(const DenseMatrix& m, int64_t row, int64_t column) {
  const int64_t i = row * m.columns + column;
  if (m.type == DType::f32) return reinterpret_cast<const float*>(m.data.data())[i];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(m.data.data())[i];
  return m.type == DType::f16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

inline double value_of(const GroupedMatrix& m, int64_t row, int64_t column) {
  const int64_t i = row * m.columns + column, g = i / m.group;
  int code = m.bits == 8 ? m.codes[i] : (m.codes[i / 2] >> (i % 2 * 4)) & 15;
  if (m.symmetric()) {
    return double{m.scales[g]} * (m.bits == 8 ? static_cast<int8_t>(code) : code - 8);
  }
  return double{m.scales[g]} * code + m.minimums[g];
}

inline double activated(Activation activation, double x) {
  if (activation == Activation::silu) return x / (1.0 + std::exp(-x));
  if (activation == Activation::gelu) return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

// For upload().
inline void copy_rows(std::byte* to, size_t pitch, const std::byte* from, size_t width,
                      size_t rows) {
  require(cudaMemset(to, 0, pitch * rows), "cudaMemset");
  require(cudaMemcpy2D(to, pitch, from, width, width, rows, cudaMemcpyHostToDevice),
          "cudaMemcpy2D");
}

}  // namespace dinfer::cuda
