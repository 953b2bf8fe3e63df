#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"

namespace dinfer::test {

// A checkpoint of one tensor, "w", whose storage is given.
class MemoryCheckpoint final : public Checkpoint {
 public:
  MemoryCheckpoint(StorageType type, std::vector<int64_t> shape, std::string bytes)
      : bytes_(std::move(bytes)) {
    info_ = {"w", type, std::move(shape), 0, 0, bytes_.size()};
  }

  const TensorInfo& tensor() const { return info_; }

  std::span<const TensorInfo> tensors() const override { return {&info_, 1}; }
  const TensorInfo* find(std::string_view name) const override {
    return name == info_.name ? &info_ : nullptr;
  }
  void read(const TensorInfo&, uint64_t offset, std::span<std::byte> out) const override {
    check(offset + out.size() <= bytes_.size(), "read outside the tensor");
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
  }
  std::string file_of(const TensorInfo&) const override { return "memory"; }
  std::string fingerprint() const override { return ""; }

 private:
  std::string bytes_;
  TensorInfo info_;
};

}  // namespace dinfer::test
