#include "checkpoint/file_checkpoint.h"

#include <algorithm>
#include <array>
#include <memory>

#include <openssl/evp.h>

#include "base/error.h"
#include "checkpoint/printable.h"

namespace dinfer {

namespace {

// SHA-256 in hexadecimal of `before`, the file's size and its first `header_bytes` bytes.
std::string chain_hash(const std::string& before, const File& file, uint64_t header_bytes) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(),
                                                                     &EVP_MD_CTX_free);
  const uint64_t size = file.size();
  bool good = hash && EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr) == 1 &&
              EVP_DigestUpdate(hash.get(), before.data(), before.size()) == 1 &&
              EVP_DigestUpdate(hash.get(), &size, sizeof(size)) == 1;
  std::vector<std::byte> piece(std::min<uint64_t>(header_bytes, 1 << 20));
  for (uint64_t at = 0; good && at < header_bytes; at += piece.size()) {
    piece.resize(std::min<uint64_t>(piece.size(), header_bytes - at));
    file.read(at, piece);
    good = EVP_DigestUpdate(hash.get(), piece.data(), piece.size()) == 1;
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  good = good && EVP_DigestFinal_ex(hash.get(), digest.data(), &length) == 1;
  check(good, "SHA-256 is not available");
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace

uint32_t FileCheckpoint::add_file(File file, uint64_t header_bytes) {
  fingerprint_ = chain_hash(fingerprint_, file, std::min(header_bytes, file.size()));
  files_.push_back(std::move(file));
  return static_cast<uint32_t>(files_.size() - 1);
}

void FileCheckpoint::check_new(const std::string& name, uint32_t file) const {
  if (index_.contains(name) || parts_.contains(name) || unsupported_.contains(name)) {
    fail(ExitCode::model_files, "{}: tensor {} stands twice in the model",
         files_[file].path().string(), printable(name));
  }
}

void FileCheckpoint::add(TensorInfo tensor) {
  if (!tensor.packed || index_.contains(tensor.name)) check_new(tensor.name, tensor.file);
  index_.emplace(tensor.name, tensors_.size());
  tensors_.push_back(std::move(tensor));
}

void FileCheckpoint::add_unsupported(const std::string& name, uint32_t file,
                                     const std::string& type) {
  check_new(name, file);
  unsupported_.emplace(name, Unsupported{file, type});
}

void FileCheckpoint::add_part(TensorInfo tensor) {
  check_new(tensor.name, tensor.file);
  parts_.emplace(tensor.name, std::move(tensor));
}

void FileCheckpoint::add_broken(const std::string& name, const std::string& message) {
  broken_.emplace(name, message);
}

std::vector<std::string> FileCheckpoint::names() const {
  std::vector<std::string> names;
  for (const TensorInfo& tensor : tensors_) names.push_back(tensor.name);
  for (const auto& [name, part] : parts_) names.push_back(name);
  for (const auto& [name, unsupported] : unsupported_) names.push_back(name);
  return names;
}

bool FileCheckpoint::is_part(std::string_view name, StorageType type) const {
  const auto at = parts_.find(name);
  return at != parts_.end() && at->second.type == type;
}

const TensorInfo* FileCheckpoint::find_part(std::string_view name) const {
  const auto at = parts_.find(name);
  return at != parts_.end() ? &at->second : find(name);
}

const TensorInfo* FileCheckpoint::find(std::string_view name) const {
  if (const auto at = broken_.find(name); at != broken_.end())
    fail(ExitCode::model_files, "{}", at->second);
  if (const auto at = index_.find(name); at != index_.end()) return &tensors_[at->second];
  if (const auto at = parts_.find(name); at != parts_.end()) {
    refuse(name, at->second.file, traits_of(at->second.type).name);
  }
  if (const auto at = unsupported_.find(name); at != unsupported_.end()) {
    refuse(name, at->second.file, at->second.type);
  }
  return nullptr;
}

void FileCheckpoint::refuse(std::string_view name, uint32_t file, std::string_view type) const {
  fail(ExitCode::model_files,
       "{}: tensor {} is stored as {}, which is not supported: convert the model to F32, F16, "
       "BF16 or one of GGUF's Q4_0 to Q8_0 and Q2_K to Q6_K",
       files_[file].path().string(), printable(name), type);
}

void FileCheckpoint::read(const TensorInfo& tensor, uint64_t offset,
                          std::span<std::byte> out) const {
  check(tensor.file < files_.size(), "tensor of another checkpoint");
  check(offset <= tensor.bytes && out.size() <= tensor.bytes - offset, "read outside the tensor");
  files_[tensor.file].read(tensor.offset + offset, out);
}

std::string FileCheckpoint::file_of(const TensorInfo& tensor) const {
  check(tensor.file < files_.size(), "tensor of another checkpoint");
  return files_[tensor.file].path().string();
}

}  // namespace dinfer
