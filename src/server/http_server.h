#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/http_types.h"

namespace dinfer {

// The way back for one request. Used on the server's thread only; outlives its connection, and is
// deaf once the client has gone.
class HttpReply {
 public:
  virtual ~HttpReply() = default;

  // The whole answer. Either this, or start_stream().
  virtual void send(HttpResponse response) = 0;

  // Head of an answer that comes in pieces; `response.body` is its first piece.
  virtual void start_stream(HttpResponse response) = 0;
  virtual void write(std::string_view piece) = 0;
  virtual void end() = 0;

  // Called once when the client leaves, or is given up as too slow, before end().
  virtual void on_gone(std::function<void()> callback) = 0;
};

// Counts since the start, and what there is now. Read on the server's thread.
struct HttpCounts {
  uint64_t accepted = 0;
  uint64_t refused = 0;       // turned away by the gate or a limit
  uint64_t slow_readers = 0;  // given up
  size_t connections = 0;
  size_t answering = 0;     // requests whose answer is not wholly on its way
  uint64_t body_bytes = 0;  // held now
};

// An HTTP/1.1 server on one thread of its own. Requests that pass the gate and the limits reach the
// handler on that thread; it must not block. A slow reader costs memory up to
// HttpLimits::unsent_bytes, never time.
class HttpServer {
 public:
  using Handler = std::function<void(HttpRequest, std::shared_ptr<HttpReply>)>;

  // Listens on the address (a name or a number; port 0: any free one); start() serves, by TLS where
  // files for it are given. Error(address_in_use) where another program has the port, Error(usage)
  // for an address that is not one of this machine, and for files that cannot be used.
  HttpServer(const std::string& host, uint16_t port, const std::optional<TlsFiles>& tls,
             const HttpLimits& limits, Handler handler,
             std::function<HttpResponse(int status, const std::string& message)> refuse);
  ~HttpServer();
  void start();

  const std::string& address() const;  // as bound: "127.0.0.1", "::1"
  uint16_t port() const;
  bool loopback() const;
  bool tls() const;

  // Runs a task on the server's thread. Any thread may call.
  void post(std::function<void()> task);

  // Requests whose answer is not wholly on its way. Any other thread may call.
  size_t answering() const;

  // Waits until answers that have ended are on their way, at most so many seconds, then closes all
  // connections and ends the thread.
  void stop(double flush_s);

  const HttpCounts& counts() const;

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

// "Bad Request" of 400.
std::string_view reason_phrase(int status);

}  // namespace dinfer
