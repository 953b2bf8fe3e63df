#include <fmt/format.h>

#include "server/http_session.h"

namespace dinfer {

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

void HttpOutput::append_head(const HttpResponse& response, bool known_length) {
  auto out = std::back_inserter(unsent_);
  fmt::format_to(out, "HTTP/1.1 {} {}\r\n", response.status, reason_phrase(response.status));
  if (!response.content_type.empty())
    fmt::format_to(out, "Content-Type: {}\r\n", response.content_type);
  for (const auto& [name, value] : response.headers) {
    fmt::format_to(out, "{}: {}\r\n", name, value);
  }
  if (known_length) {
    fmt::format_to(out, "Content-Length: {}\r\n", response.body.size());
  } else if (chunked_) {
    unsent_ += "Transfer-Encoding: chunked\r\n";
  } else {
    keep_alive_ = false;  // HTTP/1.0: the end of the connection is the end of the answer
  }
  unsent_ += keep_alive_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
}

void HttpOutput::append_piece(std::string_view piece) {
  if (piece.empty() || head_only_) return;
  if (chunked_) fmt::format_to(std::back_inserter(unsent_), "{:x}\r\n", piece.size());
  unsent_ += piece;
  if (chunked_) unsent_ += "\r\n";
}

void HttpOutput::send(HttpResponse response) {
  if (gone_ || ended_) return;
  append_head(response, true);
  if (!head_only_) unsent_ += response.body;
  ended_ = true;
  wake_.cancel();
}

void HttpOutput::start_stream(HttpResponse response) {
  if (gone_ || ended_) return;
  streaming_ = true;
  append_head(response, false);
  append_piece(response.body);
  wake_.cancel();
}

void HttpOutput::write(std::string_view piece) {
  if (gone_ || ended_) return;
  append_piece(piece);
  if (unsent_.size() > limits_.unsent_bytes) {
    ++counts_.slow_readers;
    client_gone();
  }
  wake_.cancel();
}

void HttpOutput::end() {
  if (gone_ || ended_) return;
  if (chunked_ && !head_only_) unsent_ += "0\r\n\r\n";
  ended_ = true;
  wake_.cancel();
}

void HttpOutput::client_gone() {
  if (std::exchange(gone_, true)) return;
  if (!ended_ && gone_callback_) std::exchange(gone_callback_, nullptr)();
  wake_.cancel();
}

}  // namespace dinfer
