#include "bootstrap/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace dinfer {
namespace {

[[noreturn]] void fail_system(const char* action, size_t bytes, int error) {
  fail(ExitCode::device, "cannot {} {} bytes of shared memory: {} (see `df /dev/shm`)", action,
       bytes, std::generic_category().message(error));
}

// Gives memory to a part of it: pages missing later would end the process with SIGBUS. Returns the
// error, 0 for none.
int allocate(int fd, size_t offset, size_t bytes) {
  int error = 0;
  do {
    error = posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes));
  } while (error == EINTR);
  return error;
}

}  // namespace

SharedMemory::SharedMemory(std::string name, int fd, size_t bytes)
    : name_(std::move(name)), fd_(fd) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (address == MAP_FAILED) {
    const int error = errno;
    close(fd);
    fail_system("map", bytes, error);
  }
  bytes_ = {static_cast<std::byte*>(address), bytes};
}

SharedMemory SharedMemory::create(size_t bytes, size_t at_once) {
  std::random_device random;
  const std::string name = fmt::format("/dinfer-{}-{:08x}{:08x}", getpid(), random(), random());
  const int fd = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
  if (fd < 0) fail_system("create", bytes, errno);
  int error = allocate(fd, 0, at_once);
  if (error == 0 && ftruncate(fd, static_cast<off_t>(bytes)) != 0) error = errno;
  if (error != 0) {
    close(fd);
    shm_unlink(name.c_str());
    fail_system("allocate", at_once, error);
  }
  try {
    return SharedMemory(name, fd, bytes);
  } catch (...) {
    shm_unlink(name.c_str());
    throw;
  }
}

SharedMemory SharedMemory::open(const std::string& name, size_t bytes) {
  const int fd = shm_open(name.c_str(), O_RDWR, 0);
  if (fd < 0) fail_system("open", bytes, errno);
  return SharedMemory(name, fd, bytes);
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : name_(std::move(other.name_)),
      fd_(std::exchange(other.fd_, -1)),
      bytes_(std::exchange(other.bytes_, {})) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
  if (fd_ >= 0) close(fd_);
}

bool SharedMemory::reserve(size_t offset, size_t bytes) {
  return allocate(fd_, offset, bytes) == 0;
}

void SharedMemory::remove_name() { shm_unlink(name_.c_str()); }

}  // namespace dinfer
