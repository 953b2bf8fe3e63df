#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace dinfer {

// Memory that processes of one host share, zero at first. The creator passes name() on; once all
// have opened it, remove_name() leaves no trace in the system, however the processes end.
class SharedMemory {
 public:
  // Addresses for `bytes`, and memory for the first `at_once` of them: the others are to be
  // reserved before they are used. The host's lack of shared memory is an Error(device).
  static SharedMemory create(size_t bytes, size_t at_once);
  static SharedMemory open(const std::string& name, size_t bytes);

  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  const std::string& name() const { return name_; }
  void remove_name();

  // Memory for a part of it, which then stays; false: the host has not so much.
  bool reserve(size_t offset, size_t bytes);

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  // Takes `fd`.
  SharedMemory(std::string name, int fd, size_t bytes);

  std::string name_;
  int fd_ = -1;
  std::span<std::byte> bytes_;
};

}  // namespace dinfer
