#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dinfer {

// How a tensor's elements are stored in a file. The quantised ones are the block formats of GGUF
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; the block layouts are in ggml-common.h).
// i8 to f8_e4m3 are parts of packed matrices, `packed` is such a matrix (checkpoint/packed_weight.h).
enum class StorageType : uint8_t {
  f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, i8, i32, i64, f8_e4m3, packed
};

struct StorageTraits {
  std::string_view name;
  int block_elements;  // consecutive elements of a row that are stored together
  int block_bytes;
};

const StorageTraits& traits_of(StorageType type);

struct PackedWeight;

struct TensorInfo {
  std::string name;            // Hugging Face name, e.g. "model.layers.0.self_attn.q_proj.weight"
  StorageType type = StorageType::f32;
  std::vector<int64_t> shape;  // outermost dimension first: {rows, columns} for a matrix
  uint32_t file = 0;           // which of the checkpoint's files
  uint64_t offset = 0;         // bytes from the start of that file
  uint64_t bytes = 0;
  std::shared_ptr<const PackedWeight> packed = nullptr;  // where several tensors make this matrix
};

// Columns of the matrix that share a scale and stay together when it is loaded, whatever --quant
// says; 0: the matrix is plain once loaded.
int64_t stored_group(const TensorInfo& tensor);

// The weights of one model on disk. Opening one checks every length, offset and shape against the
// files, so that a TensorInfo can be trusted; a violation is an Error(model_files) that names file,
// tensor and rule. Thread-safe.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  virtual std::span<const TensorInfo> tensors() const = 0;

  // nullptr when the model has no such tensor; Error(model_files) when it has one whose elements are
  // of a type that is not a StorageType (tensors() leaves those out).
  virtual const TensorInfo* find(std::string_view name) const = 0;

  // Reads out.size() bytes of the tensor's storage, starting `offset` bytes into the tensor.
  virtual void read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const = 0;

  // Path of the file that holds the tensor: for messages.
  virtual std::string file_of(const TensorInfo& tensor) const = 0;

  // Changes when any file's size or header changes; equal on hosts that hold the same files.
  virtual std::string fingerprint() const = 0;
};

}  // namespace dinfer
