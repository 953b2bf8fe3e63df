#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/api.h"
#include "server/engine_driver.h"
#include "server/http_server.h"

namespace dinfer {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 1234;
  bool keyless_ok = false;  // may listen beyond loopback without keys
  std::optional<TlsFiles> tls;
  HttpLimits http;
  ApiOptions api;
};

// The API and the page beside an engine. From its making on it listens, and says that the model is
// being loaded; run() serves.
class Server {
 public:
  // Error(address_in_use); Error(usage) for an address that is not this machine's, or that others
  // can reach where nothing is asked of them (no keys, and not told that this is meant).
  explicit Server(ServerOptions options);
  ~Server();

  std::string url() const;
  const HttpServer& http() const { return *http_; }

  // The engine's loop, on the calling thread; see EngineDriver::run. `on_ready` is called once
  // requests are served.
  bool run(Engine& engine, std::shared_ptr<const ServedModel> model, ServedLayout layout,
           const std::function<EngineDriver::Wish()>& wish, double drain_s,
           const std::function<void()>& on_ready);

 private:
  void set_state(Api::State state);

  std::unique_ptr<HttpServer> http_;  // outlives what posts to it
  EngineDriver driver_;
  Api api_;
};

}  // namespace dinfer
