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

}  // namespace

SharedMemory::SharedMemory(std::string name, int fd, size_t bytes) : name_(std::move(name)) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int error = errno;
  close(fd);
  if (address == MAP_FAILED) fail_system("map", bytes, error);
  bytes_ = {static_cast<std::byte*>(address), bytes};
}

SharedMemory SharedMemory::create(size_t bytes) {
  std::random_device random;
  const std::string name = fmt::format("/dinfer-{}-{:08x}{:08x}", getpid(), random(), random());
  const int fd = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
  if (fd < 0) fail_system("create", bytes, errno);
  // Allocates now: pages missing later would end the process with SIGBUS.
  if (const int error = posix_fallocate(fd, 0, static_cast<off_t>(bytes))) {
    close(fd);
    shm_unlink(name.c_str());
    fail_system("allocate", bytes, error);
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
    : name_(std::move(other.name_)), bytes_(std::exchange(other.bytes_, {})) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

void SharedMemory::remove_name() { shm_unlink(name_.c_str()); }

}  // namespace dinfer
