#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "model/weight_slices.h"
#include "model/weights.h"

namespace dinfer {

// What a matrix is for, as far as its form depends on it.
enum class MatrixKind : uint8_t {
  layer,
  router,   // never quantised: rounding must not flip a choice
  experts,  // a stack of matrices
  vocabulary,
};

// Where a rank's weights come from: a checkpoint, or random numbers.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // A stack has `count` matrices, of as many slices each.
  virtual std::unique_ptr<Weight> matrix(const MatrixSlices& slices, MatrixKind kind,
                                         int64_t count = 1) = 0;
  virtual DeviceVector bias(const MatrixSlices& slices) = 0;
  // Its weights times `scale`.
  virtual DeviceVector norm(const std::string& name, int64_t size, float scale) = 0;
};

// All weights of a rank: which there are follows from the config, what they are from the source.
ModelWeights assemble_weights(const ModelConfig& config, const Shard& shard, WeightSource& source);

// What becomes of a module's plain matrix whose whole rows have `columns` elements.
QuantSpec matrix_quantization(const QuantChoice& asked, const std::string& module, MatrixKind kind,
                              int64_t columns);

// Calls visit(slice, kind) for each slice of a matrix that the rank holds.
void for_each_slice(const ModelConfig& config, const Shard& shard,
                    const std::function<void(const ModuleSlice&, MatrixKind)>& visit);

// Bytes of a slice in memory once quantised: codes, and an f16 scale a group; 4 bits have a minimum
// too.
uint64_t quantized_bytes(const ModuleSlice& slice, const QuantSpec& spec);

}  // namespace dinfer
