#include "server/page.h"

#include <array>

#include <fmt/format.h>
#include <openssl/evp.h>

#include "base/error.h"

namespace dinfer {

namespace {

// 'sha256-...' of what stands between <tag> and </tag>.
std::string source_hash(std::string_view page, std::string_view tag) {
  const std::string open = fmt::format("<{}>", tag), close = fmt::format("</{}>", tag);
  const size_t begin = page.find(open) + open.size();
  const std::string_view text = page.substr(begin, page.find(close) - begin);
  std::array<unsigned char, 32> hash{};
  unsigned size = 0;
  check(EVP_Digest(text.data(), text.size(), hash.data(), &size, EVP_sha256(), nullptr) == 1,
        "SHA-256 cannot fail");
  std::array<unsigned char, 64> base64{};
  const int length = EVP_EncodeBlock(base64.data(), hash.data(), static_cast<int>(hash.size()));
  return fmt::format("'sha256-{}'", std::string(base64.begin(), base64.begin() + length));
}

}  // namespace

const std::string& page_policy() {
  static const std::string policy = fmt::format(
      "default-src 'none'; connect-src 'self'; script-src {}; style-src {}; img-src data:; "
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      source_hash(page_html(), "script"), source_hash(page_html(), "style"));
  return policy;
}

}  // namespace dinfer
