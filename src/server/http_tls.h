#pragma once

#include <memory>

#include <boost/asio/ssl/context.hpp>

#include "server/http_types.h"

namespace dinfer {

// TLS 1.2 and 1.3 for a server. Error(usage) naming the file that cannot be used, and why.
std::shared_ptr<boost::asio::ssl::context> tls_context(const TlsFiles& files);

}  // namespace dinfer
