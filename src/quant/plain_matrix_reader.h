#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "quant/quantize.h"

namespace dinfer {

// A slice of a checkpoint's tensor, both known to fit.
struct StoredSlice {
  const TensorInfo* tensor = nullptr;
  Slice slice;
};

// Reads a matrix that is plain once loaded and stays so: each part straight to its place below the
// one before, in bands of rows that several threads can read at once. What it gives equals
// stack_rows of what load_matrix gives for each part.
class PlainMatrixReader {
 public:
  // Parts of one plain type, of the same number of columns. The checkpoint outlives this object.
  PlainMatrixReader(const Checkpoint& checkpoint, std::vector<StoredSlice> parts,
                    std::shared_ptr<RecycledMemory> memory);

  int bands() const { return static_cast<int>(bands_.size()); }

  // Thread-safe for different bands. Errors are those of load_matrix.
  void read(int band);

  // Once all bands have been read.
  DenseMatrix take() { return std::move(matrix_); }

 private:
  struct Band {
    StoredSlice stored;
    int64_t row = 0;  // of the matrix
  };

  int64_t row_bytes() const;

  const Checkpoint& checkpoint_;
  std::shared_ptr<RecycledMemory> memory_;
  DenseMatrix matrix_;
  std::vector<Band> bands_;
  std::once_flag allocated_;  // by the first band: matrices wait long for their turn
};

}  // namespace dinfer
