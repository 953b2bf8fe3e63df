#pragma once

#include <cstddef>
#include <memory>

namespace dinfer::cpu {

// Zeroed, page-aligned memory from the kernel, on huge pages where it grants them. Pages become
// resident when they are first touched, near the thread that does so. No memory left:
// Error(does_not_fit).
class Pages {
 public:
  explicit Pages(size_t bytes);
  ~Pages();
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
  std::byte* mapping_ = nullptr;
  size_t mapped_ = 0;
  std::byte* data_ = nullptr;
};

// A piece of some Pages, which live as long as any of their pieces.
struct Piece {
  std::shared_ptr<Pages> pages;
  std::byte* data = nullptr;
  size_t bytes = 0;
};

// Packs weights close together, so that small ones share huge pages too. Never reuses a piece.
class Arena {
 public:
  Piece take(size_t bytes);  // 64-byte aligned

 private:
  std::shared_ptr<Pages> current_;
  size_t used_ = 0;
};

// Scratch memory that only grows; contents are lost when it does.
class Scratch {
 public:
  template <class T>
  T* get(size_t count) {
    return reinterpret_cast<T*>(reserve(count * sizeof(T)));
  }

 private:
  std::byte* reserve(size_t bytes);
  std::unique_ptr<Pages> pages_;
};

// Of this host's last-level caches together; 0 where the system does not tell.
size_t cache_bytes();

// Bytes that this process may still take: what the host has left, or its control group if that is
// less.
size_t free_memory();

}  // namespace dinfer::cpu
