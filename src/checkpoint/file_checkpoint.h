#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "checkpoint/checkpoint.h"

namespace dinfer {

// A checkpoint made of files that each begin with a header: what all formats share. The format's
// reader adds files and their tensors, whose ranges it has checked.
class FileCheckpoint final : public Checkpoint {
 public:
  // Returns the file's number. The fingerprint covers its size and first `header_bytes` bytes.
  uint32_t add_file(File file, uint64_t header_bytes);

  // Error(model_files) when another tensor has that name.
  void add(TensorInfo tensor);

  // A tensor that find() refuses to hand out: `type` is what its elements are, for the message.
  void add_unsupported(const std::string& name, uint32_t file, const std::string& type);

  // A tensor that is no weight by itself: of integers or 8-bit floats. find() refuses it, unless a
  // packed matrix of the same name has been added.
  void add_part(TensorInfo tensor);

  // A tensor that find() refuses with this message: parts of it do not fit together.
  void add_broken(const std::string& name, const std::string& message);

  // Of all tensors, as they stand in the files.
  std::vector<std::string> names() const;
  bool is_part(std::string_view name, StorageType type) const;
  // Any tensor, also a part; nullptr where there is none, the error of find() for unsupported ones.
  const TensorInfo* find_part(std::string_view name) const;

  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find(std::string_view name) const override;
  void read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const override;
  std::string file_of(const TensorInfo& tensor) const override;
  std::string fingerprint() const override { return fingerprint_; }

 private:
  struct Unsupported {
    uint32_t file;
    std::string type;
  };

  void check_new(const std::string& name, uint32_t file) const;
  [[noreturn]] void refuse(std::string_view name, uint32_t file, std::string_view type) const;

  std::vector<File> files_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  std::map<std::string, TensorInfo, std::less<>> parts_;
  std::map<std::string, Unsupported, std::less<>> unsupported_;
  std::map<std::string, std::string, std::less<>> broken_;  // messages by name
  std::string fingerprint_;
};

}  // namespace dinfer
