#include "checkpoint/gguf_checkpoint.h"

#include <optional>
#include <string>

#include "base/error.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/file_checkpoint.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_names.h"

namespace dinfer {

namespace {

constexpr int64_t kMostSplits = 9999;

std::optional<StorageType> storage_type(uint32_t ggml_type) {
  switch (ggml_type) {
    case 0:
      return StorageType::f32;
    case 1:
      return StorageType::f16;
    case 2:
      return StorageType::q4_0;
    case 3:
      return StorageType::q4_1;
    case 6:
      return StorageType::q5_0;
    case 7:
      return StorageType::q5_1;
    case 8:
      return StorageType::q8_0;
    case 10:
      return StorageType::q2_k;
    case 11:
      return StorageType::q3_k;
    case 12:
      return StorageType::q4_k;
    case 13:
      return StorageType::q5_k;
    case 14:
      return StorageType::q6_k;
    case 30:
      return StorageType::bf16;
    default:
      return std::nullopt;
  }
}

// The matrices of a tensor that holds those of a layer's experts one after the other, as tensors of
// their own. False: it is none.
bool add_experts(FileCheckpoint& checkpoint, uint32_t file, const GgufTensor& tensor,
                 StorageType type) {
  const bool is_stack = tensor.shape.size() == 3 && tensor.shape[0] <= kMostExperts &&
                        !huggingface_expert_name(tensor.name, 0).empty();
  if (!is_stack) return false;
  const int64_t experts = tensor.shape[0];
  for (int64_t expert = 0; expert < experts; ++expert) {
    const uint64_t bytes = tensor.bytes / static_cast<uint64_t>(experts);
    checkpoint.add({huggingface_expert_name(tensor.name, expert),
                    type,
                    {tensor.shape[1], tensor.shape[2]},
                    file,
                    tensor.offset + static_cast<uint64_t>(expert) * bytes,
                    bytes});
  }
  return true;
}

void add_tensors(FileCheckpoint& checkpoint, uint32_t file, const GgufHeader& header,
                 const std::string& architecture) {
  for (const GgufTensor& tensor : header.tensors) {
    const std::string name = huggingface_name(tensor.name, architecture);
    if (const auto type = storage_type(tensor.type)) {
      if (add_experts(checkpoint, file, tensor, *type)) continue;
      checkpoint.add({name, *type, tensor.shape, file, tensor.offset, tensor.bytes});
    } else {
      const GgmlType* known = find_ggml_type(tensor.type);
      checkpoint.add_unsupported(
          name, file, known ? std::string(known->name) : fmt::format("GGML type {}", tensor.type));
    }
  }
}

// Path of split `number` (from 0) of `count`, beside the first one.
std::filesystem::path split_path(const std::filesystem::path& first, int64_t number,
                                 int64_t count) {
  const std::string ending = fmt::format("-00001-of-{:05}.gguf", count);
  const std::string name = first.filename().string();
  if (!name.ends_with(ending)) {
    fail(ExitCode::model_files, "{}: the first of {} splits must be named *{}", first.string(),
         count, ending);
  }
  return first.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf",
                                           name.substr(0, name.size() - ending.size()), number + 1,
                                           count);
}

// How many files the model has; checks that this one is the first.
int64_t split_count(const GgufMetadata& metadata) {
  const int64_t count = metadata.find_int("split.count").value_or(1);
  const int64_t number = metadata.find_int("split.no").value_or(0);
  const std::string path = metadata.path().string();
  if (count == 0 || count == 1) return 1;
  if (count < 0 || count > kMostSplits || number < 0 || number >= count) {
    fail(ExitCode::model_files, "{}: split.no {} of split.count {} is not possible", path, number,
         count);
  }
  if (number != 0) {
    fail(ExitCode::model_files,
         "{}: this is split {} of {}: give the first one, *-00001-of-{:05}.gguf", path, number + 1,
         count, count);
  }
  return count;
}

// Adds all files but the first; returns how many tensors they have.
size_t add_splits(FileCheckpoint& checkpoint, const std::filesystem::path& first, int64_t count,
                  const std::string& architecture) {
  size_t tensors = 0;
  for (int64_t i = 1; i < count; ++i) {
    File file(split_path(first, i, count));
    const GgufHeader header = read_gguf_header(file);
    const int64_t number = header.metadata.find_int("split.no").value_or(-1);
    const int64_t total = header.metadata.find_int("split.count").value_or(-1);
    if (number != i || total != count) {
      fail(ExitCode::model_files, "{}: says that it is split.no {} of {}, not {} of {}",
           file.path().string(), number, total, i, count);
    }
    const uint32_t index = checkpoint.add_file(std::move(file), header.data_begin);
    add_tensors(checkpoint, index, header, architecture);
    tensors += header.tensors.size();
  }
  return tensors;
}

}  // namespace

std::unique_ptr<Checkpoint> open_gguf(const std::filesystem::path& path) {
  File file(path);
  const GgufHeader header = read_gguf_header(file);
  const std::string* named = header.metadata.find_string("general.architecture");
  const std::string architecture = named ? *named : std::string();
  const int64_t count = split_count(header.metadata);

  auto checkpoint = std::make_unique<FileCheckpoint>();
  add_tensors(*checkpoint, checkpoint->add_file(std::move(file), header.data_begin), header,
              architecture);
  const size_t tensors = header.tensors.size() + add_splits(*checkpoint, path, count, architecture);
  const auto expected = header.metadata.find_int("split.tensors.count");
  if (count > 1 && expected && *expected != static_cast<int64_t>(tensors)) {
    fail(ExitCode::model_files, "{}: split.tensors.count is {}, but the {} files hold {} tensors",
         path.string(), *expected, count, tensors);
  }
  return checkpoint;
}

}  // namespace dinfer
