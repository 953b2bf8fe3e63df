#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace dinfer {

// Large pieces of host memory that are used over and over: the system clears every page of new
// memory before it gives it out, which takes about as long as reading a file into it. Thread-safe.
class RecycledMemory {
 public:
  // Bytes without values, of a block at most twice as large.
  std::byte* take(size_t bytes);
  void give_back(const std::byte* data);

 private:
  struct Block {
    std::unique_ptr<std::byte[]> data;
    size_t bytes = 0;
    bool taken = false;
  };

  std::mutex mutex_;
  std::vector<Block> blocks_;  // few: as many of a size as were ever in use at once
};

// For vectors whose elements have no values until someone writes them; in memory that is recycled
// where one is given.
template <class T>
class RawAllocator {
 public:
  using value_type = T;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;

  RawAllocator() = default;
  explicit RawAllocator(std::shared_ptr<RecycledMemory> memory) : memory_(std::move(memory)) {}
  template <class U>
  RawAllocator(const RawAllocator<U>& other) : memory_(other.memory()) {}  // NOLINT: as required

  T* allocate(size_t count) {
    if (!memory_) return std::allocator<T>().allocate(count);
    return reinterpret_cast<T*>(memory_->take(count * sizeof(T)));
  }

  void deallocate(T* data, size_t count) {
    if (!memory_) return std::allocator<T>().deallocate(data, count);
    memory_->give_back(reinterpret_cast<const std::byte*>(data));
  }

  template <class U, class... Arguments>
  void construct(U* at, Arguments&&... arguments) {
    if constexpr (sizeof...(Arguments) == 0) {
      ::new (static_cast<void*>(at)) U;
    } else {
      ::new (static_cast<void*>(at)) U(std::forward<Arguments>(arguments)...);
    }
  }

  const std::shared_ptr<RecycledMemory>& memory() const { return memory_; }
  bool operator==(const RawAllocator& other) const { return memory_ == other.memory_; }

 private:
  std::shared_ptr<RecycledMemory> memory_;
};

using RawBytes = std::vector<std::byte, RawAllocator<std::byte>>;

}  // namespace dinfer
