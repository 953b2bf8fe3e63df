#include "server/http_session.h"

#include <netinet/tcp.h>

#include <chrono>
#include <type_traits>

#include <fmt/format.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>

#include "server/http_gate.h"

namespace dinfer {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

auto seconds(double value) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::duration<double>(value));
}

// Path and query of a target; nullopt where an escape is broken.
bool split_target(std::string_view target, HttpRequest& request) {
  const size_t question = target.find('?');
  const auto path = percent_decode(target.substr(0, question));
  if (!path) return false;
  request.path = *path;
  std::string_view rest =
      question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    const size_t equals = std::min(pair.find('='), pair.size());
    const auto name = percent_decode(pair.substr(0, equals));
    const auto value = percent_decode(pair.substr(std::min(equals + 1, pair.size())));
    if (!name || !value) return false;
    request.query[*name] = *value;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return true;
}

// Bytes of request bodies that the server holds, as long as this object lives.
class HeldBytes {
 public:
  HeldBytes(HttpCounts& counts, uint64_t bytes) : counts_(counts), bytes_(bytes) {
    counts_.body_bytes += bytes_;
  }
  HeldBytes(const HeldBytes&) = delete;
  HeldBytes& operator=(const HeldBytes&) = delete;
  ~HeldBytes() { counts_.body_bytes -= bytes_; }

 private:
  HttpCounts& counts_;
  uint64_t bytes_;
};

// `Stream`: a TCP connection, or TLS on one whose handshake is done.
template <class Stream>
class Session {
 public:
  Session(Stream stream, HttpContext& context)
      : stream_(std::move(stream)),
        context_(context),
        limits_(context.limits),
        buffer_(limits_.head_bytes + kReadAhead) {}

  asio::awaitable<void> run() {
    ++context_.counts.connections;
    try {
      for (size_t served = 1; served <= limits_.requests_per_connection; ++served) {
        if (!co_await serve_one(served == limits_.requests_per_connection)) break;
      }
    } catch (const boost::system::system_error&) {
      // The client went away, or was too slow: nobody is left to tell.
    }
    --context_.counts.connections;
    co_await close();
  }

  asio::awaitable<void> turn_away(const std::string& why) {
    co_await refuse(503, why);
    co_await close();
  }

 private:
  static constexpr size_t kReadAhead = 64 * 1024;
  static constexpr size_t kMostDrained = size_t{32} << 20;

  beast::tcp_stream& tcp() { return beast::get_lowest_layer(stream_); }

  asio::awaitable<void> close() {
    error_code ignored;
    if constexpr (!std::is_same_v<Stream, beast::tcp_stream>) {
      tcp().expires_after(std::chrono::seconds(1));
      co_await stream_.async_shutdown(asio::redirect_error(asio::use_awaitable, ignored));
    }
    tcp().socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    // What the client still sends, as a body that is too large, is read for a moment: closing at
    // once could reset the connection before it has seen the answer.
    co_await drain_input();
    tcp().close();
  }

  // TLS has ended by then: what comes is not decrypted.
  asio::awaitable<void> drain_input() {
    tcp().expires_after(std::chrono::seconds(1));
    buffer_.clear();
    error_code error;
    for (size_t read = 0; read < kMostDrained && !error;) {
      read += co_await tcp().async_read_some(buffer_.prepare(kReadAhead),
                                             asio::redirect_error(asio::use_awaitable, error));
    }
  }

  std::string too_much() const {
    return fmt::format("the body has more than the {} bytes that are read (--max-body-bytes)",
                       limits_.body_bytes);
  }

  // One request with its answer; false: the connection ends.
  asio::awaitable<bool> serve_one(bool last) {
    if (!co_await read_head()) co_return false;
    const std::string_view raw = text().substr(0, text().find("\r\n\r\n") + 4);
    if (const auto refusal = check_head(raw, limits_)) {
      co_await refuse(refusal->status, refusal->message);
      co_return false;
    }
    http::request_parser<http::string_body> parser;
    parser.header_limit(static_cast<uint32_t>(limits_.head_bytes));
    parser.body_limit(limits_.body_bytes);
    error_code error;
    co_await http::async_read_header(stream_, buffer_, parser,
                                     asio::redirect_error(asio::use_awaitable, error));
    if (error) {
      if (error == http::error::body_limit)
        co_await refuse(413, too_much());
      else
        co_await refuse(400, error.message());
      co_return false;
    }
    const uint64_t expected =
        parser.content_length().value_or(parser.chunked() ? limits_.body_bytes : uint64_t{0});
    if (context_.counts.body_bytes + expected > limits_.all_bodies_bytes) {
      co_await refuse(503, "too many request bodies are being read: try again later");
      co_return false;
    }
    HeldBytes held(context_.counts, expected);
    if (!co_await read_body(parser)) co_return false;
    co_return co_await answer(parser.get(), last);
  }

  std::string_view text() const {
    return {static_cast<const char*>(buffer_.data().data()), buffer_.size()};
  }

  // Waits for a request, then reads to the end of its head; false: none came.
  asio::awaitable<bool> read_head() {
    error_code error;
    if (buffer_.size() == 0) {
      tcp().expires_after(seconds(first_ ? limits_.head_s : limits_.idle_s));
      co_await read_more(error);
      if (error) co_return false;
    }
    first_ = false;
    tcp().expires_after(seconds(limits_.head_s));
    while (text().find("\r\n\r\n") == std::string_view::npos) {
      if (buffer_.size() >= limits_.head_bytes) {
        co_await refuse(431, fmt::format("the head has more than {} bytes", limits_.head_bytes));
        co_return false;
      }
      co_await read_more(error);
      if (error) co_return false;
    }
    co_return true;
  }

  asio::awaitable<void> read_more(error_code& error) {
    const size_t read = co_await stream_.async_read_some(
        buffer_.prepare(4096), asio::redirect_error(asio::use_awaitable, error));
    buffer_.commit(read);
  }

  asio::awaitable<bool> read_body(http::request_parser<http::string_body>& parser) {
    const auto& message = parser.get();
    if (const auto expect = message[http::field::expect]; !expect.empty()) {
      if (lower({expect.data(), expect.size()}) != "100-continue") {
        co_await refuse(417, "the only expectation known here is 100-continue");
        co_return false;
      }
      constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      if (!parser.is_done())
        co_await asio::async_write(stream_, asio::buffer(kContinue), asio::use_awaitable);
    }
    if (parser.is_done()) co_return true;
    const double extra = static_cast<double>(parser.content_length().value_or(0)) / (256.0 * 1024);
    tcp().expires_after(seconds(limits_.body_s + extra));
    error_code error;
    co_await http::async_read(stream_, buffer_, parser,
                              asio::redirect_error(asio::use_awaitable, error));
    if (!error) co_return true;
    if (error == http::error::body_limit) co_await refuse(413, too_much());
    if (error.category() == make_error_code(http::error::bad_chunk).category() &&
        error != http::error::body_limit)
      co_await refuse(400, error.message());
    co_return false;
  }

  asio::awaitable<void> refuse(int status, const std::string& message) {
    ++context_.counts.refused;
    HttpOutput output(stream_.get_executor(), false, false, limits_, context_.counts);
    output.send(context_.refuse(status, message));
    const std::string bytes = output.take();
    tcp().expires_after(seconds(limits_.write_s));
    error_code ignored;
    co_await asio::async_write(stream_, asio::buffer(bytes),
                               asio::redirect_error(asio::use_awaitable, ignored));
  }

  asio::awaitable<bool> answer(http::request<http::string_body>& message, bool last) {
    HttpRequest request;
    const auto method = message.method_string();
    request.method = std::string(method.data(), method.size());
    for (const auto& field : message) {
      const auto name = field.name_string();
      const auto value = field.value();
      request.headers[lower({name.data(), name.size()})] = std::string(value.data(), value.size());
    }
    const auto target = message.target();
    if (!split_target({target.data(), target.size()}, request)) {
      co_await refuse(400, "the target has a broken escape");
      co_return false;
    }
    request.body = std::move(message.body());
    auto output =
        std::make_shared<HttpOutput>(stream_.get_executor(), message.version() == 11,
                                     message.keep_alive() && !last, limits_, context_.counts);
    if (request.method == "HEAD") {
      request.method = "GET";
      output->no_body();
    }
    ++context_.counts.answering;
    context_.handler(std::move(request), output);
    watch(output);
    const bool written = co_await write_out(*output);
    --context_.counts.answering;
    output->client_gone();  // whoever still holds it may let go
    stop_watching();
    co_return written && output->keep_alive();
  }

  // Writes what the answer has, as it comes; false: the client left or was too slow.
  asio::awaitable<bool> write_out(HttpOutput& output) {
    std::string sending;
    for (;;) {
      error_code error;
      if (output.gone() && !output.ended()) co_return false;
      if (output.empty() && output.ended()) co_return true;
      if (output.empty()) {
        tcp().expires_never();
        output.wake().expires_after(seconds(limits_.ping_s));
        co_await output.wake().async_wait(asio::redirect_error(asio::use_awaitable, error));
        if (!error && output.streaming()) output.write(": ping\n\n");
        continue;
      }
      sending = output.take();
      for (size_t sent = 0; sent < sending.size();) {
        tcp().expires_after(seconds(limits_.write_s));
        sent += co_await stream_.async_write_some(
            asio::buffer(sending.data() + sent, sending.size() - sent),
            asio::redirect_error(asio::use_awaitable, error));
        if (error) {
          if (error == beast::error::timeout) ++context_.counts.slow_readers;
          co_return false;
        }
      }
    }
  }

  // While an answer is under way: a client that leaves is noticed at once. One that sends its next
  // request early is not waited for; its connection ends with this answer. What comes on TLS may
  // also be the client's farewell: then the end of the connection is looked for behind it.
  void watch(const std::shared_ptr<HttpOutput>& output) {
    if (buffer_.size() > 0) return output->close_after();
    tcp().socket().async_wait(asio::ip::tcp::socket::wait_read,
                              [this, weak = std::weak_ptr<HttpOutput>(output)](error_code error) {
                                const auto live = weak.lock();
                                if (error || !live || live->gone()) return;
                                char byte;
                                const auto got = recv(tcp().socket().native_handle(), &byte, 1,
                                                      MSG_PEEK | MSG_DONTWAIT);
                                if (got > 0 && !live->ended()) live->close_after();
                                if (got > 0) return watch_end(live);
                                if (got < 0 && (errno == EAGAIN || errno == EINTR))
                                  return watch(live);
                                if (got <= 0) live->client_gone();
                              });
  }

  // The same where bytes wait that are not read yet.
  void watch_end(const std::shared_ptr<HttpOutput>& output) {
    constexpr auto kBetweenLooks = std::chrono::milliseconds(100);
    look_.expires_after(kBetweenLooks);
    look_.async_wait([this, weak = std::weak_ptr<HttpOutput>(output)](error_code error) {
      const auto live = weak.lock();
      if (error || !live || live->gone()) return;
      tcp_info info{};
      socklen_t size = sizeof info;
      const bool known =
          getsockopt(tcp().socket().native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0;
      if (known && info.tcpi_state != TCP_ESTABLISHED) return live->client_gone();
      watch_end(live);
    });
  }

  void stop_watching() {
    error_code ignored;
    look_.cancel();
    tcp().socket().cancel(ignored);
  }

  Stream stream_;
  asio::steady_timer look_{stream_.get_executor()};
  HttpContext& context_;
  const HttpLimits& limits_;
  beast::flat_buffer buffer_;
  bool first_ = true;
};

}  // namespace

asio::awaitable<void> serve_connection(beast::tcp_stream stream, HttpContext& context) {
  if (!context.tls) {
    Session session(std::move(stream), context);
    co_return co_await session.run();
  }
  using TlsStream = beast::ssl_stream<beast::tcp_stream>;
  TlsStream secured(std::move(stream), *context.tls);
  error_code error;
  beast::get_lowest_layer(secured).expires_after(seconds(context.limits.head_s));
  co_await secured.async_handshake(asio::ssl::stream_base::server,
                                   asio::redirect_error(asio::use_awaitable, error));
  if (error) {
    ++context.counts.refused;
    co_return;
  }
  Session session(std::move(secured), context);
  co_await session.run();
}

asio::awaitable<void> turn_away(beast::tcp_stream stream, HttpContext& context, std::string why) {
  Session session(std::move(stream), context);
  co_await session.turn_away(why);
}

}  // namespace dinfer
