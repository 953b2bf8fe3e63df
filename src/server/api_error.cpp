#include "server/api_error.h"

#include "base/json.h"

namespace dinfer {

std::string ApiError::json() const {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? OrderedJson() : OrderedJson(text);
  };
  return OrderedJson{{"error",
                      {{"message", what()},
                       {"type", type_},
                       {"param", or_null(param_)},
                       {"code", or_null(code_)}}}}
      .dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

HttpResponse ApiError::response() const {
  HttpResponse response{.status = status_, .body = json()};
  if (retry_after_s_ > 0)
    response.headers.emplace_back("Retry-After", std::to_string(retry_after_s_));
  if (!allowed_.empty()) response.headers.emplace_back("Allow", allowed_);
  if (status_ == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (status_ == 500) response.headers.emplace_back("x-should-retry", "false");
  return response;
}

ApiError ApiError::bad_field(const std::string& param, const std::string& message,
                             std::string code) {
  return {400, "invalid_request_error", std::move(code),
          param.empty() ? message : param + ": " + message, param};
}

ApiError ApiError::with_param(const std::string& param) const {
  const std::string begin = param_ + ": ";
  std::string message = what();
  if (message.starts_with(begin)) message = param + ": " + message.substr(begin.size());
  ApiError error(status_, type_, code_, message, param);
  error.retry_after_s_ = retry_after_s_;
  return error;
}

ApiError ApiError::wrong_method(const std::string& path, const std::string& allowed) {
  ApiError error(405, "invalid_request_error", "method_not_allowed",
                 path + " takes " + allowed + " only");
  error.allowed_ = allowed == "GET" ? "GET, HEAD" : allowed;
  return error;
}

ApiError ApiError::of_status(int status, const std::string& message) {
  const bool server = status >= 500;
  return {status, server ? "server_error" : "invalid_request_error",
          status == 413 ? "request_too_large" : "", message};
}

ApiError ApiError::unavailable(std::string code, const std::string& message, int retry_after_s) {
  ApiError error(503, "server_error", std::move(code), message);
  error.retry_after_s_ = retry_after_s;
  return error;
}

ApiError ApiError::overloaded(const std::string& message, int retry_after_s) {
  ApiError error(429, "rate_limit_exceeded", "queue_full", message);
  error.retry_after_s_ = retry_after_s;
  return error;
}

}  // namespace dinfer
