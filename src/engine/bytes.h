#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace dinfer {

static_assert(std::endian::native == std::endian::little,
              "messages are little-endian as they lie in memory");

// Writes fixed-width little-endian fields one behind the other.
class ByteWriter {
 public:
  template <class T>
  void put(T value) {
    static_assert(std::is_arithmetic_v<T>);
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    std::memcpy(bytes_.data() + at, &value, sizeof value);
  }

  // A count (u32), then the elements.
  template <class T>
  void put_list(std::span<const T> values) {
    put(static_cast<uint32_t>(values.size()));
    for (T value : values) put(value);
  }

  void put_text(std::string_view text) { put_list<char>({text.data(), text.size()}); }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// Reads such fields from a message of another rank. A message that ends early, or has a count
// larger than its bytes can hold, is an Error(peer) that starts with `what`.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string what)
      : rest_(bytes), what_(std::move(what)) {}

  template <class T>
  T get() {
    static_assert(std::is_arithmetic_v<T>);
    need(sizeof(T));
    T value;
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_ = rest_.subspan(sizeof value);
    return value;
  }

  // A count of items that each take at least `item_bytes`.
  uint32_t get_count(size_t item_bytes) {
    const auto count = get<uint32_t>();
    if (count > rest_.size() / item_bytes) {
      fail(ExitCode::peer, "{}: {} items announced, {} bytes left", what_, count, rest_.size());
    }
    return count;
  }

  template <class T>
  std::vector<T> get_list() {
    std::vector<T> values(get_count(sizeof(T)));
    for (T& value : values) value = get<T>();
    return values;
  }

  std::string get_text() {
    const std::vector<char> text = get_list<char>();
    return {text.begin(), text.end()};
  }

  void expect_end() const {
    if (!rest_.empty()) fail(ExitCode::peer, "{}: {} bytes after its end", what_, rest_.size());
  }

 private:
  void need(size_t bytes) const {
    if (rest_.size() < bytes) {
      fail(ExitCode::peer, "{}: ends {} bytes early", what_, bytes - rest_.size());
    }
  }

  std::span<const std::byte> rest_;
  std::string what_;
};

}  // namespace dinfer
