#pragma once

#include <stdexcept>
#include <string>

#include "server/http_types.h"

namespace dinfer {

// A request that is answered by an error: thrown where the cause is found. The body has OpenAI's
// form: {"error": {"message", "type", "param", "code"}}.
class ApiError : public std::runtime_error {
 public:
  // `param`: the field at fault, or empty.
  ApiError(int status, std::string type, std::string code, const std::string& message,
           std::string param = "")
      : std::runtime_error(message),
        status_(status),
        type_(std::move(type)),
        code_(std::move(code)),
        param_(std::move(param)) {}

  int status() const { return status_; }
  const std::string& type() const { return type_; }
  const std::string& param() const { return param_; }
  ApiError with_param(const std::string& param) const;  // the field by another name
  std::string json() const;                             // the body
  HttpResponse response() const;                        // with the headers that go with the status

  // A 400 that names the field.
  static ApiError bad_field(const std::string& param, const std::string& message,
                            std::string code = "invalid_value");
  // 405: what the path takes.
  static ApiError wrong_method(const std::string& path, const std::string& allowed);
  // By status alone: what the HTTP layer refuses.
  static ApiError of_status(int status, const std::string& message);
  // 503; the client should come back after so many seconds.
  static ApiError unavailable(std::string code, const std::string& message, int retry_after_s);
  static ApiError overloaded(const std::string& message, int retry_after_s);

 private:
  int status_;
  std::string type_, code_, param_;
  std::string allowed_;  // methods, of a 405
  int retry_after_s_ = 0;
};

}  // namespace dinfer
