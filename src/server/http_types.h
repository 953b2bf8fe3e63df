#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace dinfer {

// A request whose head passed the gate and whose body is complete.
struct HttpRequest {
  std::string method;
  std::string path;                            // without the query
  std::map<std::string, std::string> query;    // decoded
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  // Empty where the header is missing.
  const std::string& header(const std::string& name) const {
    static const std::string none;
    const auto found = headers.find(name);
    return found == headers.end() ? none : found->second;
  }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// PEM files of a certificate (with those between it and its root) and of its key.
struct TlsFiles {
  std::filesystem::path certificate, key;
};

// What an HTTP client may use up. Times in seconds.
struct HttpLimits {
  size_t head_bytes = 16 * 1024;
  size_t head_fields = 100;
  size_t target_bytes = 4 * 1024;
  uint64_t body_bytes = uint64_t{8} << 20;
  uint64_t all_bodies_bytes = uint64_t{256} << 20;  // of all requests being read or at work
  size_t connections = 4096;
  size_t connections_per_address = 256;
  size_t requests_per_connection = 1000;
  size_t unsent_bytes = size_t{8} << 20;  // of one answer: beyond, its reader is given up
  double head_s = 10;                     // for the whole head, from its first byte
  double idle_s = 75;                     // between requests
  double body_s = 30;                     // and one second more for each 256 KiB
  double write_s = 20;                    // without any progress
  double ping_s = 10;                     // silence of a stream until a comment is sent
};

}  // namespace dinfer
