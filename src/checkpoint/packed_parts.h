#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "checkpoint/file_checkpoint.h"
#include "checkpoint/packed_weight.h"
#include "checkpoint/quantization_config.h"

namespace dinfer {

// The tensors of one module whose weight is packed, looked up and checked for the files that know a
// format. All that is broken is an Error(model_files) naming file, tensor and rule.
class PackedParts {
 public:
  // `codes`: the tensor that the module was found by, `module`.<its part>.
  PackedParts(const FileCheckpoint& checkpoint, std::string module, const TensorInfo& codes);

  const FileCheckpoint& checkpoint() const { return checkpoint_; }
  const TensorInfo& codes() const { return codes_; }

  // `module`.`part`; nullptr where there is none.
  const TensorInfo* find(const std::string& part) const;
  const TensorInfo& get(const std::string& part) const;

  void expect_type(const TensorInfo& tensor, std::initializer_list<StorageType> types) const;
  void expect_scales_type(const TensorInfo& tensor) const;  // F32, F16 or BF16
  // Two dimensions of 1 to 2^24 each.
  void expect_matrix(const TensorInfo& tensor) const;
  // `rule` says where the shape comes from.
  void expect_shape(const TensorInfo& tensor, const std::vector<int64_t>& shape,
                    const std::string& rule) const;
  [[noreturn]] void refuse(const TensorInfo& tensor, const std::string& why) const;

  // Of one element, whatever its dimensions.
  static bool is_single(const TensorInfo& tensor);

  // Columns of a group where `columns` of them have `blocks` scales.
  int64_t block_columns(const QuantizationConfig& config, const TensorInfo& scales, int64_t columns,
                        int64_t blocks) const;

  // The checkpoint's matrix `module`.weight of `rows` x `columns`.
  TensorInfo matrix(PackedWeight packed, int64_t rows, int64_t columns) const;

 private:
  const FileCheckpoint& checkpoint_;
  std::string module_;
  const TensorInfo& codes_;
};

// The matrices of each format.
TensorInfo gptq_matrix(const PackedParts& parts, const QuantizationConfig& config);
TensorInfo awq_matrix(const PackedParts& parts, const QuantizationConfig& config);
TensorInfo compressed_matrix(const PackedParts& parts, const QuantizationConfig& config);
TensorInfo fp8_matrix(const PackedParts& parts, const QuantizationConfig& config);

// Puts the matrices that tensors of the checkpoint make among its tensors, as the config says. One
// whose parts do not fit together is refused when somebody asks for it: files hold more than a
// model of text needs.
void join_packed_matrices(FileCheckpoint& checkpoint, const QuantizationConfig& config);

}  // namespace dinfer
