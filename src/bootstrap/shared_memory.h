#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace dinfer {

// Memory that processes of one host share, zero at first. The creator passes name() on; once all
// have opened it, remove_name() leaves no trace in the system, however the processes end.
class SharedMemory {
 public:
  // The host's lack of shared memory is an Error(device).
  static SharedMemory create(size_t bytes);
  static SharedMemory open(const std::string& name, size_t bytes);

  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  const std::string& name() const { return name_; }
  void remove_name();
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  SharedMemory(std::string name, int fd, size_t bytes);

  std::string name_;
  std::span<std::byte> bytes_;
};

}  // namespace dinfer
