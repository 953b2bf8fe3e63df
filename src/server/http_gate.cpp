#include "server/http_gate.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

namespace dinfer {

namespace {

constexpr std::string_view kLineEnd = "\r\n";

// Of field names and methods: RFC 9110, 5.6.2.
bool is_token_char(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         kOthers.find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, is_token_char);
}

bool is_number(std::string_view text) {
  constexpr size_t kMostDigits = 18;  // fits 64 bits
  return !text.empty() && text.size() <= kMostDigits &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

HttpRefusal bad(std::string message) { return {400, std::move(message)}; }

std::optional<HttpRefusal> check_request_line(std::string_view line, const HttpLimits& limits,
                                              bool& http_1_0) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return bad("the request line is broken");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  const auto is_upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (method.empty() || method.size() > 16 || !std::ranges::all_of(method, is_upper)) {
    return bad("the method is not a word of capital letters");
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return HttpRefusal{505, "only HTTP/1.1 and HTTP/1.0 are spoken here"};
  }
  http_1_0 = version == "HTTP/1.0";
  if (target.size() > limits.target_bytes) {
    return HttpRefusal{414, fmt::format("the target has {} bytes, at most {} are read",
                                        target.size(), limits.target_bytes)};
  }
  const auto is_visible = [](char c) { return c > 0x20 && c < 0x7f; };
  if (target.empty() || target[0] != '/' || !std::ranges::all_of(target, is_visible)) {
    return bad("the target must be a path of visible ASCII characters");
  }
  return std::nullopt;
}

// Counts of the fields that decide where a request ends.
struct Framing {
  int hosts = 0, lengths = 0, encodings = 0;
};

std::optional<HttpRefusal> check_field(std::string_view line, Framing& framing) {
  if (line[0] == ' ' || line[0] == '\t') return bad("a header line is folded");
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    return bad("a header line has no valid name");
  }
  const std::string name = lower(line.substr(0, colon));
  const std::string_view value = trim(line.substr(colon + 1));
  const auto is_control = [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  };
  if (std::ranges::any_of(value, is_control)) return bad("a header has a control character");
  if (name == "host") ++framing.hosts;
  if (name == "content-length") {
    ++framing.lengths;
    if (!is_number(value)) return bad("Content-Length is not one plain number");
  }
  if (name == "transfer-encoding") {
    ++framing.encodings;
    if (lower(value) != "chunked") {
      return HttpRefusal{501, "the only Transfer-Encoding known here is chunked"};
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<HttpRefusal> check_head(std::string_view head, const HttpLimits& limits) {
  bool http_1_0 = false;
  size_t fields = 0;
  Framing framing;
  for (size_t line_number = 0;; ++line_number) {
    const size_t end = head.find(kLineEnd);
    if (end == std::string_view::npos) return bad("the head has no end");
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + kLineEnd.size());
    if (line.find_first_of("\r\n") != std::string_view::npos) return bad("a line end is broken");
    if (line_number == 0) {
      if (auto refusal = check_request_line(line, limits, http_1_0)) return refusal;
      continue;
    }
    if (line.empty()) break;
    if (++fields > limits.head_fields) {
      return HttpRefusal{431, fmt::format("more than {} header fields", limits.head_fields)};
    }
    if (auto refusal = check_field(line, framing)) return refusal;
  }
  if (framing.hosts > 1 || (framing.hosts == 0 && !http_1_0)) {
    return bad("there must be one Host header");
  }
  if (framing.lengths > 1 || framing.encodings > 1 || framing.lengths + framing.encodings > 1) {
    return bad("more than one header says where the body ends");
  }
  if (http_1_0 && framing.encodings > 0) return bad("HTTP/1.0 has no Transfer-Encoding");
  return std::nullopt;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return result;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::optional<std::string> percent_decode(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const int lower = std::tolower(static_cast<unsigned char>(c));
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
  };
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int value = digit(text[i + 1]) * 16 + digit(text[i + 2]);
    if (digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0 || value < 0x20 || value == 0x7f) {
      return std::nullopt;
    }
    decoded += static_cast<char>(value);
    i += 2;
  }
  return decoded;
}

}  // namespace dinfer
