#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/cpu/thread_pool.h"

namespace dinfer {

// Brings weights from the host's memory to the GPU as fast as the bus takes them: several threads
// copy pieces to pinned memory, from where the GPU fetches them meanwhile. Called by one thread,
// the one that makes it.
class GpuCopies {
 public:
  // To GPU `ordinal`.
  explicit GpuCopies(int ordinal);
  ~GpuCopies();

  // Rows of `width` bytes, close together at `from`, to `pitch` bytes each at `to`, the rest of
  // which becomes zero. Done when it returns.
  void copy_rows(std::byte* to, size_t pitch, const std::byte* from, size_t width, size_t rows);

 private:
  class Lane;

  int ordinal_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // one a thread
  cpu::ThreadPool threads_;
};

}  // namespace dinfer
