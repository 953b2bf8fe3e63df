#include "base/file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "base/error.h"

namespace dinfer {

namespace {

// What a clone without git's extension for large files has in place of one.
bool is_lfs_pointer(int fd) {
  constexpr std::string_view kBegin = "version https://git-lfs.github.com/spec/";
  char begin[kBegin.size()];
  return ::pread(fd, begin, kBegin.size(), 0) == static_cast<ssize_t>(kBegin.size()) &&
         std::string_view(begin, kBegin.size()) == kBegin;
}

}  // namespace

File::File(const std::filesystem::path& path) : path_(path) {
  // O_NONBLOCK: opening a FIFO must fail below, not wait for a writer.
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) fail(ExitCode::model_files, "{}: cannot open: {}", path.string(), std::strerror(errno));
  struct stat status {};
  if (::fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd_);
    fail(ExitCode::model_files, "{}: not a regular file", path.string());
  }
  if (is_lfs_pointer(fd_)) {
    ::close(fd_);
    fail(ExitCode::model_files,
         "{}: is a pointer to the file, which git left in its place: get the file itself, with git "
         "lfs pull or by downloading it",
         path.string());
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

void File::read(uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset) {
    fail(ExitCode::model_files, "{}: bytes {} to {} asked for, but the file has {}", path_.string(),
         offset, offset + out.size(), size_);
  }
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(fd_, out.data() + done, out.size() - done,
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ExitCode::model_files, "{}: read error at byte {}: {}", path_.string(), offset + done, std::strerror(errno));
    if (n == 0) fail(ExitCode::model_files, "{}: ends at byte {}: it was shortened while being read", path_.string(), offset + done);
    done += static_cast<size_t>(n);
  }
}

bool is_present(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::symlink_status(path, error).type() != std::filesystem::file_type::not_found;
}

std::string write_obstacle(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return std::strerror(EISDIR);
    return ::access(path.c_str(), W_OK) == 0 ? "" : std::strerror(errno);
  }
  const std::filesystem::path folder = path.parent_path() / ".";
  return ::access(folder.c_str(), W_OK | X_OK) == 0 ? "" : std::strerror(errno);
}

std::string read_text_file(const std::filesystem::path& path, uint64_t limit) {
  const File file(path);
  if (file.size() > limit) {
    fail(ExitCode::model_files, "{}: {} bytes, more than the {} allowed for this kind of file", path.string(), file.size(), limit);
  }
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace dinfer
