// Products on a GPU against the same sums in double precision. Skips where there is no GPU.
#include "kernels/cuda/matmul.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cuda/unpack.h"
#include "tests/unit/cuda/device_array.h"
#include "tests/unit/cuda/matrices.h"
#include "tests/unit/cuda/stream_test.h"

namespace dinfer::cuda {
namespace {

std::vector<double> values_of(const HostMatrix& matrix) {
  return std::visit(
      [](const auto& m) {
        std::vector<double> all;
        all.reserve(m.rows * m.columns);
        for (int64_t r = 0; r < m.rows; ++r) {
          for (int64_t c = 0; c < m.columns; ++c) all.push_back(value_of(m, r, c));
        }
        return all;
      },
      matrix);
}

// `rows` with host pointers.
std::vector<double> prepared(const Rows& rows, int64_t r) {
  const float* row = rows.data + r * rows.stride;
  double squares = 0;
  for (int64_t c = 0; c < rows.columns; ++c) squares += double{row[c]} * row[c];
  const double inverse = 1.0 / std::sqrt(squares / rows.columns + rows.epsilon);
  std::vector<double> x(rows.columns);
  for (int64_t c = 0; c < rows.columns; ++c) {
    x[c] = row[c];
    if (rows.kind == Rows::Kind::normed) x[c] *= inverse * rows.norm[c];
    if (rows.kind == Rows::Kind::gated) {
      x[c] = activated(rows.activation, x[c]) * row[rows.columns + c];
    }
  }
  return x;
}

class CudaMatmul : public StreamTest {
 protected:
  struct Case {
    Rows::Kind kind = Rows::Kind::plain;
    Activation activation = Activation::silu;
    bool bias = false;
    bool add = false;
  };

  // How far products are off, over what the largest sums of absolute values allow.
  double error(const HostMatrix& matrix, int64_t count, const Case& how) {
    const int64_t rows = rows_of(matrix), columns = columns_of(matrix);
    const PackedMatrix form = packed_form(matrix);
    const DeviceArray<std::byte> memory(form.bytes()), staging(staging_bytes(matrix));
    PackedMatrix weight = form;
    weight.data = memory.data();
    upload(stream_, matrix, weight, staging.data(), copy_rows);

    const int64_t width = columns * (how.kind == Rows::Kind::gated ? 2 : 1);
    const int64_t stride = (width + 3) / 4 * 4 + 4, out_stride = rows + 3;
    const std::vector<float> x = random_values(random_, count * stride);
    const std::vector<float> norm = random_values(random_, (columns + 3) / 4 * 4);
    const std::vector<float> bias = random_values(random_, rows);
    const std::vector<float> before = random_values(random_, count * out_stride);
    const DeviceArray<float> x_device(x), norm_device(norm), bias_device(bias), out(before);
    Rows in{.kind = how.kind,
            .data = x_device.data(),
            .count = count,
            .stride = stride,
            .columns = columns,
            .norm = norm_device.data(),
            .epsilon = 1e-5f,
            .activation = how.activation};
    const Matmul::Limits limits{count, columns, rows, true};
    const DeviceArray<std::byte> workspace(Matmul::workspace_bytes(limits));
    Matmul matmul(stream_, limits, workspace.data());
    matmul.multiply(in, weight,
                    {out.data(), out_stride, how.bias ? bias_device.data() : nullptr, how.add});
    require(cudaStreamSynchronize(handle_), "cudaStreamSynchronize");

    in.data = x.data();
    in.norm = norm.data();
    return compare(values_of(matrix), in, rows, before, bias, how, out.host(), out_stride);
  }

  static double compare(const std::vector<double>& weight, const Rows& in, int64_t rows,
                        const std::vector<float>& before, const std::vector<float>& bias,
                        const Case& how, const std::vector<float>& out, int64_t stride) {
    double worst = 0;
    for (int64_t i = 0; i < in.count; ++i) {
      const std::vector<double> x = prepared(in, i);
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0, squares = 0;
        for (int64_t c = 0; c < in.columns; ++c) {
          const double product = x[c] * weight[r * in.columns + c];
          sum += product;
          squares += product * product;
        }
        if (how.bias) sum += bias[r];
        if (how.add) sum += before[i * stride + r];
        const double off = std::abs(out[i * stride + r] - sum);
        const double relative = off / (std::sqrt(squares) + std::abs(sum) + 1e-6);
        worst = std::isfinite(relative) ? std::max(worst, relative) : 1e9;
      }
      for (int64_t r = rows; r < stride; ++r) {
        if (out[i * stride + r] != before[i * stride + r]) worst = 1e9;  // written past the end
      }
    }
    return worst;
  }

  // Inputs rounded to 16 bits of mantissa or more; or to bf16, whose errors are 2^-9 each; or, with
  // grouped matrices on newer GPUs, to f16.
  double tolerance(int64_t count, const HostMatrix& matrix) const {
    const auto* dense = std::get_if<DenseMatrix>(&matrix);
    if (!dense && stream_.warpgroups && count > 8) return 4e-3;
    const bool short_dense = dense && dense->type != DType::f32;
    return count <= (short_dense ? 1 : Matmul::kDecodeRows) ? 1e-4 : 2e-2;
  }

  Random random_{12345};
};

constexpr int64_t kCounts[] = {1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 100};

TEST_F(CudaMatmul, DenseProductsOfAnyShape) {
  for (const DType type : {DType::bf16, DType::f16, DType::f32}) {
    for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 8},
                                        {7, 20},
                                        {33, 64},
                                        {100, 72},
                                        {257, 200},
                                        {64, 1000},
                                        {48, 4160}}) {
      const HostMatrix matrix = random_dense(random_, type, rows, columns);
      for (const int64_t count : kCounts) {
        SCOPED_TRACE(std::string(name_of(type)) + " " + std::to_string(rows) + " x " +
                     std::to_string(columns) + ", rows " + std::to_string(count));
        EXPECT_LT(error(matrix, count, {}), tolerance(count, matrix));
      }
    }
  }
}

TEST_F(CudaMatmul, GroupedProductsOfEveryForm) {
  for (const int bits : {4, 8}) {
    for (const int group : {16, 32, 64, 128}) {
      for (const bool symmetric : {true, false}) {
        for (const bool half : {true, false}) {
          const GroupedForm form{bits, group, symmetric, half};
          for (const auto& [rows, columns] :
               {std::pair<int64_t, int64_t>{5, group}, {100, 3 * group}, {40, 4096 + group}}) {
            const HostMatrix matrix = random_grouped(random_, form, rows, columns);
            for (const int64_t count : {1, 4, 7, 16, 20, 33, 100, 150}) {
              SCOPED_TRACE(std::to_string(bits) + " bits, groups of " + std::to_string(group) +
                           (symmetric ? ", symmetric, " : ", minimums, ") +
                           (half ? "f16 scales, " : "f32 scales, ") + std::to_string(rows) + " x " +
                           std::to_string(columns) + ", rows " + std::to_string(count));
              EXPECT_LT(error(matrix, count, {}), tolerance(count, matrix));
            }
          }
        }
      }
    }
  }
}

TEST_F(CudaMatmul, PreparesInputsAndFinishesOutputs) {
  const HostMatrix dense = random_dense(random_, DType::bf16, 150, 1096);
  const HostMatrix grouped = random_grouped(random_, {4, 32, false, true}, 150, 1120);
  for (const HostMatrix* matrix : {&dense, &grouped}) {
    for (const int64_t count : kCounts) {
      const double tolerance = this->tolerance(count, *matrix);
      SCOPED_TRACE(std::to_string(columns_of(*matrix)) + " columns, rows " + std::to_string(count));
      EXPECT_LT(error(*matrix, count, {.bias = true}), tolerance);
      EXPECT_LT(error(*matrix, count, {.add = true}), tolerance);
      EXPECT_LT(error(*matrix, count, {.kind = Rows::Kind::normed, .bias = true, .add = true}),
                tolerance);
      for (const Activation activation :
           {Activation::silu, Activation::gelu, Activation::gelu_tanh}) {
        EXPECT_LT(error(*matrix, count, {.kind = Rows::Kind::gated, .activation = activation}),
                  tolerance);
      }
    }
  }
}

TEST_F(CudaMatmul, LargeProducts) {
  const HostMatrix matrices[] = {random_dense(random_, DType::bf16, 520, 4096),
                                 random_dense(random_, DType::bf16, 272, 14336),
                                 random_grouped(random_, {4, 128, true, true}, 272, 14336),
                                 random_grouped(random_, {4, 32, false, true}, 1024, 4096),
                                 random_grouped(random_, {8, 32, true, true}, 3000, 1024)};
  for (const HostMatrix& matrix : matrices) {
    for (const int64_t count : {1, 8, 16, 64, 300}) {
      SCOPED_TRACE(std::to_string(rows_of(matrix)) + " x " + std::to_string(columns_of(matrix)) +
                   ", rows " + std::to_string(count));
      EXPECT_LT(error(matrix, count, {}), tolerance(count, matrix));
    }
  }
}

// What GPUs of compute capability 8.6 and 8.9 have. Quantised matrices meet many rows in batches,
// or unpacked.
TEST_F(CudaMatmul, LittleSharedMemory) {
  stream_.shared_memory = kLeastSharedMemory;
  stream_.warpgroups = false;
  const HostMatrix matrices[] = {random_dense(random_, DType::bf16, 150, 4160),
                                 random_grouped(random_, {4, 16, false, false}, 100, 4112),
                                 random_grouped(random_, {4, 128, true, true}, 100, 3200),
                                 random_grouped(random_, {8, 32, false, true}, 70, 2080)};
  for (const HostMatrix& matrix : matrices) {
    for (const int64_t count : {1, 2, 8, 9, 16, 17, 32, 33, 70}) {
      SCOPED_TRACE(std::to_string(rows_of(matrix)) + " x " + std::to_string(columns_of(matrix)) +
                   ", rows " + std::to_string(count));
      EXPECT_LT(error(matrix, count, {}), tolerance(count, matrix));
    }
  }
}

TEST_F(CudaMatmul, UnpacksRowsExactly) {
  for (const bool symmetric : {true, false}) {
    const HostMatrix matrix = random_grouped(random_, {4, 32, symmetric, true}, 50, 96);
    PackedMatrix weight = packed_form(matrix);
    const DeviceArray<std::byte> memory(weight.bytes()), staging(staging_bytes(matrix));
    weight.data = memory.data();
    upload(stream_, matrix, weight, staging.data(), copy_rows);
    const std::vector<int32_t> wanted{1049, 1000, 1017, 999, 1050};
    const DeviceArray<int32_t> rows(wanted);
    const DeviceArray<float> out(wanted.size() * 96);
    unpack_rows(stream_, weight, rows.data(), std::ssize(wanted), 1000, 1.0f, out.data());
    require(cudaStreamSynchronize(handle_), "cudaStreamSynchronize");
    const std::vector<float> got = out.host();
    const auto& grouped = std::get<GroupedMatrix>(matrix);
    for (size_t i = 0; i < wanted.size(); ++i) {
      for (int64_t c = 0; c < 96; ++c) {
        const int64_t row = wanted[i] - 1000;
        const double value = row < 0 || row >= 50 ? 0.0 : value_of(grouped, row, c);
        ASSERT_NEAR(got[i * 96 + c], value, 1e-7) << "row " << row << ", column " << c;
      }
    }
  }
}

}  // namespace
}  // namespace dinfer::cuda
