#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_types.h"

namespace dinfer {

// The keys that clients may come with. Only their hashes are kept, and a comparison takes the same
// time whatever the key.
class ApiKeys {
 public:
  ApiKeys() = default;  // none: everyone is let in
  // One key a line; blank lines and those that begin with # are passed over. Error(usage) where the
  // file cannot be read or holds no key.
  explicit ApiKeys(const std::filesystem::path& file);

  bool required() const { return !hashes_.empty(); }
  // `authorization`: the header, "Bearer KEY".
  bool admit(std::string_view authorization) const;
  // What tells keys apart without telling the key; empty where none is asked for.
  std::string tag(std::string_view authorization) const;

 private:
  using Hash = std::array<unsigned char, 32>;
  static Hash hash_of(std::string_view key);

  std::vector<Hash> hashes_;
};

// Whether a Host header names this machine's loopback, or one of `allowed`. Where a server listens
// on loopback only, other names come from pages that rebind theirs (DNS rebinding).
bool host_allowed(std::string_view host, const std::vector<std::string>& allowed);

// "application/json", with or without parameters.
bool is_json_type(std::string_view content_type);

// The client's request id where it is short and plain; otherwise a new one.
std::string request_id(const HttpRequest& request);

// So many random hexadecimal digits.
std::string random_hex(size_t digits);

}  // namespace dinfer
