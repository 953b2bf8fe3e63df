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

// ASCII letters in lower case: names and words of HTTP do not depend on case.
std::string lower(std::string_view text);

// Without the blanks around it.
std::string_view trim(std::string_view text);

// "a%20b" to "a b"; nullopt where an escape is broken or hides a control character.
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace dinfer
