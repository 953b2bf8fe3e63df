#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server/http_types.h"

namespace dinfer {

// Why a request is turned away before any of it is acted on.
struct HttpRefusal {
  int status = 400;
  std::string message;
};

// Looks at the raw head of a request (request line to empty line, both included) for everything
// that a tolerant parser lets pass and that servers and proxies read differently: folded lines,
// doubled or unusual Content-Length, Transfer-Encoding other than "chunked", several Hosts, bytes
// outside ASCII in the target. A head that passes means the same to everyone (RFC 9112).
std::optional<HttpRefusal> check_head(std::string_view head, const HttpLimits& limits);

// "a%20b" to "a b"; nullopt where an escape is broken or hides a control character.
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace dinfer
