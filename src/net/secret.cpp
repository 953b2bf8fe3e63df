#include "net/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <memory>
#include <system_error>

#include "base/error.h"

namespace dinfer {
namespace {

constexpr size_t kShortestSecret = 16;
constexpr size_t kLongestSecret = 4096;

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Context = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

const unsigned char* data_of(ByteView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

Digest hmac(ByteView key, std::initializer_list<ByteView> parts) {
  const Key secret(EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, nullptr, data_of(key), key.size()),
                   &EVP_PKEY_free);
  const Context context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  bool good = secret && context &&
              EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, secret.get()) == 1;
  for (const ByteView part : parts)
    good = good && EVP_DigestSignUpdate(context.get(), data_of(part), part.size()) == 1;
  Digest digest{};
  size_t length = digest.size();
  good = good && EVP_DigestSignFinal(context.get(), reinterpret_cast<unsigned char*>(digest.data()),
                                     &length) == 1;
  check(good && length == digest.size(), "OpenSSL computes HMAC-SHA-256");
  return digest;
}

bool equal_digests(ByteView a, ByteView b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Nonce random_nonce() {
  Nonce nonce{};
  check(RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()), nonce.size()) == 1,
        "OpenSSL yields random bytes");
  return nonce;
}

void check_secret(std::string_view secret, std::string_view origin) {
  if (secret.size() < kShortestSecret || secret.size() > kLongestSecret)
    fail(ExitCode::config,
         "{}: a secret has {} to {} bytes, this one {}: `openssl rand -hex 32` makes a good one",
         origin, kShortestSecret, kLongestSecret, secret.size());
}

std::string read_secret_file(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0)
    fail(ExitCode::config, "--secret-file {}: {}", path, std::generic_category().message(errno));
  if (!S_ISREG(status.st_mode) || (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    fail(ExitCode::config,
         "--secret-file {}: must be a file that only its owner may read: chmod 600 {}", path, path);
  std::ifstream file(path, std::ios::binary);
  std::string secret(kLongestSecret + 2, '\0');
  file.read(secret.data(), static_cast<std::streamsize>(secret.size()));
  secret.resize(static_cast<size_t>(file.gcount()));
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  check_secret(secret, "--secret-file " + path);
  return secret;
}

}  // namespace dinfer
