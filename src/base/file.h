#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace dinfer {

// A regular file opened for reading. Thread-safe: all reads carry their offset.
class File {
 public:
  // Throws Error(model_files) naming the path when it is missing, unreadable, not a regular file,
  // or what git leaves in place of a large one (Git LFS).
  explicit File(const std::filesystem::path& path);
  File(File&& other) noexcept;
  File& operator=(File&&) = delete;
  ~File();

  const std::filesystem::path& path() const { return path_; }
  uint64_t size() const { return size_; }  // bytes, as of opening

  // Fills `out` from `offset`; a range that is not wholly inside the file, a short read or an I/O
  // error is an Error(model_files).
  void read(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  int fd_;
  uint64_t size_;
};

// False only where nothing has this name. What is there may be out of reach, or a link that leads
// nowhere: opening it says so.
bool is_present(const std::filesystem::path& path);

// Why no file of this name can be written, in the system's words; empty where nothing is in the way.
// Changes nothing.
std::string write_obstacle(const std::filesystem::path& path);

// The whole of a text file of at most `limit` bytes.
std::string read_text_file(const std::filesystem::path& path, uint64_t limit);

}  // namespace dinfer
