#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>

#include "server/http_server.h"

namespace dinfer {

// What sessions share with their server.
struct HttpContext {
  HttpLimits limits;
  HttpServer::Handler handler;
  std::function<HttpResponse(int, const std::string&)> refuse;
  std::shared_ptr<boost::asio::ssl::context> tls;  // null: plain HTTP
  HttpCounts counts;
};

// One answer on its way out: a buffer between whoever makes it and the session that writes it.
class HttpOutput : public HttpReply {
 public:
  HttpOutput(boost::asio::any_io_executor executor, bool chunked, bool keep_alive,
             const HttpLimits& limits, HttpCounts& counts)
      : chunked_(chunked),
        keep_alive_(keep_alive),
        limits_(limits),
        counts_(counts),
        wake_(executor) {}

  void send(HttpResponse response) override;
  void start_stream(HttpResponse response) override;
  void write(std::string_view piece) override;
  void end() override;
  void on_gone(std::function<void()> callback) override { gone_callback_ = std::move(callback); }

  // For the session:
  void client_gone();
  bool gone() const { return gone_; }
  bool ended() const { return ended_; }
  bool keep_alive() const { return keep_alive_; }
  void close_after() { keep_alive_ = false; }
  std::string take() { return std::exchange(unsent_, {}); }
  bool empty() const { return unsent_.empty(); }
  bool streaming() const { return streaming_; }
  boost::asio::steady_timer& wake() { return wake_; }
  void no_body() { head_only_ = true; }  // the answer to HEAD

 private:
  void append_head(const HttpResponse& response, bool known_length);
  void append_piece(std::string_view piece);

  bool chunked_;
  bool keep_alive_;
  const HttpLimits& limits_;
  HttpCounts& counts_;
  boost::asio::steady_timer wake_;
  std::string unsent_;
  bool head_only_ = false;
  bool streaming_ = false;
  bool ended_ = false;
  bool gone_ = false;
  std::function<void()> gone_callback_;
};

// One connection, from accept to close.
boost::asio::awaitable<void> serve_connection(boost::beast::tcp_stream stream,
                                              HttpContext& context);

// One connection that is too many: status 503, and close.
boost::asio::awaitable<void> turn_away(boost::beast::tcp_stream stream, HttpContext& context,
                                       std::string why);

}  // namespace dinfer
