#include <fmt/ranges.h>

#include "base/error.h"
#include "checkpoint/model_files.h"
#include "checkpoint/model_tensors.h"
#include "checkpoint/printable.h"

namespace dinfer {

void check_tensors(const Checkpoint& checkpoint, const ModelConfig& config) {
  for (const ModelTensor& needed : model_tensors(config)) {
    const TensorInfo* tensor = checkpoint.find(needed.name);
    if (!tensor) {
      fail(ExitCode::model_files,
           "the model's files lack tensor {} of shape [{}], which its config asks for",
           printable(needed.name), fmt::join(needed.shape, ", "));
    }
    if (tensor->shape != needed.shape) {
      fail(ExitCode::model_files,
           "{}: tensor {} has shape [{}], but the model's config asks for [{}]",
           checkpoint.file_of(*tensor), printable(needed.name), fmt::join(tensor->shape, ", "),
           fmt::join(needed.shape, ", "));
    }
    if (!needed.is_matrix() && stored_group(*tensor) > 0) {
      fail(ExitCode::model_files,
           "{}: tensor {} is stored as {}; norms and biases must be F32, F16 or BF16",
           checkpoint.file_of(*tensor), printable(needed.name), traits_of(tensor->type).name);
    }
  }
}

}  // namespace dinfer
