#pragma once

#include <filesystem>
#include <string>

#include "server/http_server.h"

namespace dinfer {

// Error(usage) where no file of this name can be written; nothing is asked of an empty one.
void check_endpoint_file(const std::filesystem::path& path);

// Tells scripts where a server is: a JSON file {"url", "host", "port", "job", "pid"} that appears
// whole, and goes away with this object.
class EndpointFile {
 public:
  EndpointFile(std::filesystem::path path, const HttpServer& http, const std::string& url);
  EndpointFile(const EndpointFile&) = delete;
  EndpointFile& operator=(const EndpointFile&) = delete;
  ~EndpointFile();

 private:
  std::filesystem::path path_;
};

}  // namespace dinfer
