#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace dinfer {

using Digest = std::array<std::byte, 32>;
using Nonce = std::array<std::byte, 32>;
using ByteView = std::span<const std::byte>;

// HMAC-SHA-256 of the parts, one after the other.
Digest hmac(ByteView key, std::initializer_list<ByteView> parts);

// Takes as long whether or not they are equal.
bool equal_digests(ByteView a, ByteView b);

Nonce random_nonce();

inline ByteView bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// The bytes of a plain value, as it lies in memory.
template <class T>
ByteView view_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

// The secret of a job in a file that only its owner may read: at least 16 bytes, without the line
// end. Anything else is an Error(config).
std::string read_secret_file(const std::string& path);
void check_secret(std::string_view secret, std::string_view origin);

}  // namespace dinfer
