#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "model/weight_slices.h"
#include "model/weights.h"

namespace dinfer {

// What --quant does to a matrix.
enum class MatrixKind : uint8_t { layer, vocabulary };

// Where a rank's weights come from: a checkpoint, or random numbers.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual std::unique_ptr<Weight> matrix(const MatrixSlices& slices, MatrixKind kind) = 0;
  virtual DeviceVector bias(const MatrixSlices& slices) = 0;
  virtual DeviceVector norm(const std::string& name, int64_t size) = 0;
};

// All weights of a rank: which there are follows from the config, what they are from the source.
ModelWeights assemble_weights(const ModelConfig& config, const TensorShard& shard,
                              WeightSource& source);

// The quantisation of a matrix whose whole rows have `columns` elements; group 0: no group divides
// them.
QuantSpec matrix_quantisation(const QuantSpec& asked, MatrixKind kind, int64_t columns);

}  // namespace dinfer
