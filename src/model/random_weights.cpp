#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <tuple>
#include <vector>

#include "model/weight_source.h"

namespace dinfer {
namespace {

// Random bytes, repeated over a matrix: drawing each value would take longer than the benchmark.
// The length is prime, so that rows differ.
class Pattern {
 public:
  explicit Pattern(uint64_t seed) : bytes_(kLength) {
    for (std::byte& byte : bytes_) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
      byte = static_cast<std::byte>(seed >> 56);
    }
  }

  void fill(std::span<std::byte> out) const {
    for (size_t at = 0; at < out.size(); at += kLength) {
      std::memcpy(out.data() + at, bytes_.data(), std::min(kLength, out.size() - at));
    }
  }

  // The same repetition of bf16 values uniform in [-amplitude, amplitude].
  void fill_bf16(std::span<std::byte> out, float amplitude) const {
    std::vector<uint16_t> values(kLength);
    for (size_t i = 0; i < kLength; ++i) {
      const float unit = std::to_integer<int>(bytes_[i]) / 127.5f - 1.0f;
      values[i] = f32_to_bf16(amplitude * unit);
    }
    const size_t length = kLength * sizeof(uint16_t);
    for (size_t at = 0; at < out.size(); at += length) {
      std::memcpy(out.data() + at, values.data(), std::min(length, out.size() - at));
    }
  }

 private:
  static constexpr size_t kLength = 65521;
  std::vector<std::byte> bytes_;
};

float to_f16_and_back(float value) { return f16_to_f32(f32_to_f16(value)); }

// Values uniform with variance 1 / columns: a normalised input gives outputs of variance 1.
HostMatrix random_matrix(const Pattern& pattern, int64_t rows, int64_t columns,
                         const QuantSpec& quant) {
  const float amplitude = std::sqrt(3.0f / static_cast<float>(columns));
  const auto elements = static_cast<size_t>(rows * columns);
  if (quant.bits == 0) {
    DenseMatrix matrix{.type = DType::bf16, .rows = rows, .columns = columns};
    matrix.data.resize(elements * sizeof(uint16_t));
    pattern.fill_bf16(matrix.data, amplitude);
    return matrix;
  }
  GroupedMatrix matrix{.bits = quant.bits, .group = quant.group, .rows = rows, .columns = columns};
  matrix.codes.resize(elements * static_cast<size_t>(quant.bits) / 8);
  pattern.fill(std::as_writable_bytes(std::span(matrix.codes)));
  const auto groups = static_cast<size_t>(rows * matrix.groups());
  if (quant.bits == 8) {
    matrix.scales.assign(groups, to_f16_and_back(amplitude / 127.0f));
  } else {
    matrix.scales.assign(groups, to_f16_and_back(amplitude / 7.5f));
    matrix.minimums.assign(groups, to_f16_and_back(-amplitude));
  }
  return matrix;
}

class RandomSource final : public WeightSource {
 public:
  RandomSource(const QuantChoice& quant, Device& device, uint64_t seed)
      : quant_(quant), device_(device), pattern_(seed) {}

  std::unique_ptr<Weight> matrix(const MatrixSlices& slices, MatrixKind kind,
                                 int64_t count) override {
    const int64_t rows = rows_in(slices), columns = slices.at(0).columns.size();
    const QuantSpec quant = matrix_quantization(quant_, slices.at(0).module, kind, columns);
    const Weight*& first = made_[{rows, columns, quant.bits, quant.group, count}];
    if (first) return device_.clone(*first);
    HostMatrix values = random_matrix(pattern_, rows, columns, quant);
    auto weight = kind == MatrixKind::experts ? device_.upload_stack(std::move(values), count)
                                              : device_.upload(std::move(values));
    first = weight.get();
    return weight;
  }

  DeviceVector bias(const MatrixSlices& slices) override {
    return constant(rows_in(slices), 0.01f);
  }

  DeviceVector norm(const std::string&, int64_t size, float scale) override {
    return constant(size, scale);
  }

 private:
  static int64_t rows_in(const MatrixSlices& slices) {
    int64_t rows = 0;
    for (const ModuleSlice& slice : slices) rows += slice.rows.size();
    return rows;
  }

  DeviceVector constant(int64_t size, float value) {
    return {device_, std::vector<float>(static_cast<size_t>(size), value)};
  }

  const QuantChoice& quant_;
  Device& device_;
  Pattern pattern_;
  std::map<std::tuple<int64_t, int64_t, int, int, int64_t>, const Weight*>
      made_;  // of a shape, in use
};

}  // namespace

WeightBytes random_weight_bytes(const ModelConfig& config, const Shard& shard,
                                const QuantChoice& quant) {
  WeightBytes bytes;
  for_each_slice(config, shard, [&](const ModuleSlice& slice, MatrixKind kind) {
    const QuantSpec spec = matrix_quantization(quant, slice.module, kind, slice.columns.size());
    const auto elements = static_cast<uint64_t>(slice.rows.size() * slice.columns.size());
    (kind == MatrixKind::experts ? bytes.experts : bytes.always) +=
        spec.bits == 0 ? elements * bytes_of(DType::bf16) : quantized_bytes(slice, spec);
  });
  return bytes;
}

ModelWeights random_weights(const ModelConfig& config, const Shard& shard, const QuantChoice& quant,
                            Device& device, uint64_t seed) {
  RandomSource source(quant, device, seed);
  return assemble_weights(config, shard, source);
}

}  // namespace dinfer
