#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "checkpoint/printable.h"
#include "checkpoint/safetensors.h"

namespace dinfer {

namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr uint64_t kMostIndexBytes = 64 << 20;

// The names of tensors that each shard must hold.
using Shards = std::map<std::string, std::set<std::string>>;

bool is_weight(StorageType type) {
  return type == StorageType::f32 || type == StorageType::f16 || type == StorageType::bf16;
}

// In models for images too, tensors of the language model have a prefix, which depends on the
// version of transformers that wrote them: here they are named as in a model of text alone.
std::string text_name(const std::string& name) {
  constexpr std::pair<std::string_view, std::string_view> kPrefixes[] = {
      {"language_model.model.", "model."},
      {"language_model.lm_head.", "lm_head."},
      {"model.language_model.", "model."},
  };
  for (const auto& [prefix, instead] : kPrefixes) {
    if (name.starts_with(prefix)) return std::string(instead) + name.substr(prefix.size());
  }
  return name;
}

void add_tensor(FileCheckpoint& checkpoint, uint32_t file, const SafetensorsTensor& tensor) {
  const std::string name = text_name(tensor.name);
  if (!tensor.type) return checkpoint.add_unsupported(name, file, tensor.dtype);
  TensorInfo info{name, *tensor.type, tensor.shape, file, tensor.offset, tensor.bytes};
  if (is_weight(*tensor.type)) {
    checkpoint.add(std::move(info));
  } else {
    checkpoint.add_part(std::move(info));
  }
}

void add_file(FileCheckpoint& checkpoint, const std::filesystem::path& path) {
  File file(path);
  const SafetensorsHeader header = read_safetensors_header(file);
  const uint32_t number = checkpoint.add_file(std::move(file), header.data_begin);
  for (const SafetensorsTensor& tensor : header.tensors) add_tensor(checkpoint, number, tensor);
}

// Adds those tensors of a shard that the index says to be there, and no others.
void add_shard(FileCheckpoint& checkpoint, const std::filesystem::path& path,
               std::set<std::string> names) {
  File file(path);
  const SafetensorsHeader header = read_safetensors_header(file);
  const uint32_t number = checkpoint.add_file(std::move(file), header.data_begin);
  for (const SafetensorsTensor& tensor : header.tensors) {
    if (names.erase(tensor.name) > 0) add_tensor(checkpoint, number, tensor);
  }
  if (!names.empty()) {
    fail(ExitCode::model_files,
         "{}: has no tensor {}, though {} says so: a shard of another model?", path.string(),
         printable(*names.begin()), kIndexFile);
  }
}

Shards read_index(const std::filesystem::path& path) {
  const std::string where = path.string();
  const Json index =
      parse_json(read_text_file(path, kMostIndexBytes), where, ExitCode::model_files);
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    fail(ExitCode::model_files, "{}: has no object \"weight_map\" of tensors and their files",
         where);
  }
  Shards shards;
  for (const auto& [tensor, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : std::string();
    if (!name.ends_with(".safetensors") || name.find('/') != std::string::npos ||
        name.find('\\') != std::string::npos || name.find('\0') != std::string::npos ||
        name.find("..") != std::string::npos) {
      fail(ExitCode::model_files,
           "{}: tensor {} is said to be in {}: a shard must be a .safetensors file of the same "
           "directory",
           where, printable(tensor), file.is_string() ? printable(name) : "no file");
    }
    shards[name].insert(tensor);
  }
  return shards;
}

[[noreturn]] void fail_no_weights(const std::filesystem::path& directory) {
  std::string other;
  std::error_code unreadable;
  for (const auto& entry : std::filesystem::directory_iterator(directory, unreadable)) {
    const auto extension = entry.path().extension();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth") {
      other = entry.path().filename().string();
    }
  }
  if (!other.empty()) {
    fail(ExitCode::model_files,
         "{}: has {} but no {}: weights are read from safetensors only, as pickled files can run "
         "code: convert the model",
         directory.string(), printable(other), kSingleFile);
  }
  fail(ExitCode::model_files, "{}: has neither {} nor {}", directory.string(), kSingleFile,
       kIndexFile);
}

}  // namespace

std::unique_ptr<FileCheckpoint> open_safetensors(const std::filesystem::path& path) {
  auto checkpoint = std::make_unique<FileCheckpoint>();
  std::error_code unreadable;  // then opening the file says why
  if (!std::filesystem::is_directory(path, unreadable)) {
    add_file(*checkpoint, path);
  } else if (is_present(path / kSingleFile)) {
    add_file(*checkpoint, path / kSingleFile);
  } else if (is_present(path / kIndexFile)) {
    for (auto& [file, names] : read_index(path / kIndexFile)) {
      add_shard(*checkpoint, path / file, std::move(names));
    }
  } else {
    fail_no_weights(path);
  }
  return checkpoint;
}

}  // namespace dinfer
