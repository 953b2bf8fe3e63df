#pragma once

#include <cstddef>
#include <memory>

#include "device/device.h"

namespace dinfer {

// Zeroed memory of the current GPU. Too little left: Error(does_not_fit).
class GpuMemory final : public Buffer {
 public:
  explicit GpuMemory(size_t bytes);
  ~GpuMemory() override;
  GpuMemory(const GpuMemory&) = delete;
  GpuMemory& operator=(const GpuMemory&) = delete;
  std::byte* data() override { return data_; }
  std::byte* data() const { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  size_t bytes_;
  std::byte* data_ = nullptr;
};

// Host memory that the GPU copies from without the host's help.
class PinnedMemory {
 public:
  explicit PinnedMemory(size_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
  std::byte* data_ = nullptr;
};

// A piece of some memory, which lives as long as any of its pieces.
struct GpuPiece {
  std::shared_ptr<GpuMemory> memory;
  std::byte* data = nullptr;
};

// Packs small weights close together: the driver gives memory out by the megabyte. Never reuses a
// piece.
class GpuArena {
 public:
  GpuPiece take(size_t bytes);  // 256-byte aligned

 private:
  std::shared_ptr<GpuMemory> current_;
  size_t used_ = 0;
};

}  // namespace dinfer
