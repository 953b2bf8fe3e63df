#include "server/http_gate.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

namespace dinfer {
namespace {

int status_of(const std::string& head) {
  const auto refusal = check_head(head, {});
  return refusal ? refusal->status : 200;
}

std::string with(const std::string& fields, const std::string& line = "POST /v1/x HTTP/1.1") {
  return line + "\r\n" + fields + "\r\n";
}

const std::string kHost = "Host: localhost\r\n";

TEST(HttpGate, plain_requests_pass) {
  EXPECT_EQ(status_of(with(kHost)), 200);
  EXPECT_EQ(status_of(with(kHost + "Content-Length: 12\r\nX-A:\r\nX-B: \tv \r\n")), 200);
  EXPECT_EQ(status_of(with(kHost + "Transfer-Encoding: Chunked\r\n")), 200);
  EXPECT_EQ(status_of(with("", "GET / HTTP/1.0")), 200);
  EXPECT_EQ(status_of(with(kHost, "GET /a%20b?c=d HTTP/1.1")), 200);
}

TEST(HttpGate, what_could_smuggle_a_request_is_refused) {
  EXPECT_EQ(status_of(with(kHost + "Content-Length: 3\r\nContent-Length: 3\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "Content-Length: 3, 3\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "Content-Length: +3\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "Content-Length: -1\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "Content-Length: 0x10\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "Content-Length:\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "Content-Length: 18446744073709551616\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
            400);
  EXPECT_EQ(status_of(with(kHost + "Transfer-Encoding: gzip, chunked\r\n")), 501);
  EXPECT_EQ(status_of(with(kHost + "Transfer-Encoding: xchunked\r\n")), 501);
  EXPECT_EQ(status_of(with("Transfer-Encoding: chunked\r\n", "POST / HTTP/1.0")), 400);
  EXPECT_EQ(status_of(with(kHost + "X-A: 1\r\n folded\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "X-A : 1\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + ": 1\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "no colon\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + std::string("X-A: a\0b\r\n", 10))), 400);
  EXPECT_EQ(status_of(with(kHost + "X-A: a\rb\r\n")), 400);
  EXPECT_EQ(status_of(with(kHost + "X-A: a\nX-B: b\r\n")), 400);
}

TEST(HttpGate, there_is_one_host) {
  EXPECT_EQ(status_of(with("")), 400);
  EXPECT_EQ(status_of(with(kHost + kHost)), 400);
}

TEST(HttpGate, request_lines_are_held_to_the_letter) {
  for (const char* line :
       {"get / HTTP/1.1", "GET  HTTP/1.1", "GET /", "GET x HTTP/1.1", "GET /\x80 HTTP/1.1",
        "GET /a b HTTP/1.1", "GET http://a/ HTTP/1.1", " GET / HTTP/1.1", "GET /\t HTTP/1.1",
        "AVERYLONGMETHODNAME / HTTP/1.1", "G3T / HTTP/1.1", ""}) {
    EXPECT_EQ(status_of(with(kHost, line)), 400) << line;
  }
  for (const char* line : {"GET / HTTP/1.2", "GET / HTTP/2.0", "GET / http/1.1", "GET / HTTP/1.10"})
    EXPECT_EQ(status_of(with(kHost, line)), 505) << line;
  EXPECT_EQ(status_of(with(kHost, "GET /" + std::string(5000, 'a') + " HTTP/1.1")), 414);
}

TEST(HttpGate, fields_are_counted) {
  std::string fields = kHost;
  for (int i = 1; i < 100; ++i) fields += fmt::format("X-{}: 1\r\n", i);
  EXPECT_EQ(status_of(with(fields)), 200);
  EXPECT_EQ(status_of(with(fields + "X-100: 1\r\n")), 431);
}

TEST(HttpGate, every_shortened_head_is_refused) {
  const std::string head = with(kHost + "Content-Length: 3\r\n");
  for (size_t length = 0; length < head.size(); ++length) {
    EXPECT_NE(status_of(head.substr(0, length)), 200) << length;
  }
}

TEST(HttpGate, escapes_are_decoded_or_refused) {
  EXPECT_EQ(percent_decode("a%20b%2F%c3%A9"), "a b/\xc3\xa9");
  for (const char* text : {"%", "%2", "%zz", "%00", "%0a", "%7f"})
    EXPECT_EQ(percent_decode(text), std::nullopt) << text;
}

}  // namespace
}  // namespace dinfer
