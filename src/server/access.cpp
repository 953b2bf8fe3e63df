#include "server/access.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <random>
#include <sstream>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "server/http_gate.h"

namespace dinfer {

namespace {

constexpr std::string_view kScheme = "bearer ";
constexpr uint64_t kMostKeyBytes = uint64_t{1} << 20;

// "[::1]:80" to "[::1]", "localhost:80" to "localhost".
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

}  // namespace

ApiKeys::ApiKeys(const std::filesystem::path& file) {
  std::string text;
  try {
    text = read_text_file(file, kMostKeyBytes);
  } catch (const Error& error) {
    fail(ExitCode::usage, "--api-key-file: {}", error.what());
  }
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string_view key = trim(line);
    if (!key.empty() && key[0] != '#') hashes_.push_back(hash_of(key));
  }
  OPENSSL_cleanse(text.data(), text.size());
  if (hashes_.empty()) fail(ExitCode::usage, "--api-key-file {}: holds no key", file.string());
  struct stat info {};
  if (stat(file.c_str(), &info) == 0 && (info.st_mode & (S_IRGRP | S_IROTH)) != 0) {
    log::warn("--api-key-file {}: others can read it; chmod 600 makes it yours alone",
              file.string());
  }
}

ApiKeys::Hash ApiKeys::hash_of(std::string_view key) {
  Hash hash{};
  unsigned size = 0;
  check(EVP_Digest(key.data(), key.size(), hash.data(), &size, EVP_sha256(), nullptr) == 1,
        "SHA-256 cannot fail");
  return hash;
}

bool ApiKeys::admit(std::string_view authorization) const {
  if (!required()) return true;
  if (lower(authorization.substr(0, kScheme.size())) != kScheme) return false;
  const Hash given = hash_of(trim(authorization.substr(kScheme.size())));
  int found = 0;  // all are compared, whichever fits
  for (const Hash& hash : hashes_)
    found |= CRYPTO_memcmp(given.data(), hash.data(), hash.size()) == 0 ? 1 : 0;
  return found != 0;
}

std::string ApiKeys::tag(std::string_view authorization) const {
  if (!required() || authorization.size() < kScheme.size()) return {};
  const Hash hash = hash_of(trim(authorization.substr(kScheme.size())));
  return {hash.begin(), hash.end()};
}

bool host_allowed(std::string_view host, const std::vector<std::string>& allowed) {
  const std::string name = lower(without_port(host));
  if (name.empty()) return host.empty();  // HTTP/1.0 without a Host: no browser
  if (name == "localhost" || name == "127.0.0.1" || name == "[::1]" || name.ends_with(".localhost"))
    return true;
  return std::ranges::any_of(allowed,
                             [&](const std::string& other) { return lower(other) == name; });
}

bool is_json_type(std::string_view content_type) {
  return lower(trim(content_type.substr(0, content_type.find(';')))) == "application/json";
}

std::string request_id(const HttpRequest& request) {
  const std::string& given = request.header("x-request-id");
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  };
  if (!given.empty() && given.size() <= 64 && std::ranges::all_of(given, plain)) return given;
  return random_hex(24);
}

std::string random_hex(size_t digits) {
  thread_local std::mt19937_64 random{std::random_device()()};
  std::string text;
  while (text.size() < digits) text += fmt::format("{:016x}", random());
  return text.substr(0, digits);
}

}  // namespace dinfer
