#include "server/server.h"

#include <future>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace dinfer {

namespace {

// Time for error events and last answers to reach their clients. Launchers give little more after a
// rank has died.
constexpr double kFlushSeconds = 0.8;

}  // namespace

Server::Server(ServerOptions options)
    : driver_([this](std::vector<EngineEvent> events) {
        http_->post([this, batch = std::make_shared<std::vector<EngineEvent>>(std::move(events))] {
          api_.take_events(std::move(*batch));
        });
      }),
      api_(options.api) {
  http_ = std::make_unique<HttpServer>(
      options.host, options.port, options.tls, options.http,
      [this](HttpRequest request, std::shared_ptr<HttpReply> reply) {
        api_.handle(std::move(request), std::move(reply));
      },
      refusal_response);
  if (!http_->loopback() && !options.api.keys.required() && !options.keyless_ok) {
    fail(ExitCode::usage,
         "--host {}: others can reach this address, and no key is asked of them: give "
         "--api-key-file FILE, or --allow-keyless where everyone may use the model",
         options.host);
  }
  api_.attach(
      driver_, [this](std::function<void()> task) { http_->post(std::move(task)); }, *http_);
  http_->start();
}

Server::~Server() { http_->stop(0); }

std::string Server::url() const {
  const std::string& address = http_->address();
  const bool v6 = address.find(':') != std::string::npos;
  return fmt::format("{}://{}:{}", http_->tls() ? "https" : "http",
                     v6 ? "[" + address + "]" : address, http_->port());
}

void Server::set_state(Api::State state) {
  http_->post([this, state] { api_.set_state(state); });
}

bool Server::run(Engine& engine, std::shared_ptr<const ServedModel> model, ServedLayout layout,
                 const std::function<EngineDriver::Wish()>& wish, double drain_s,
                 const std::function<void()>& on_ready) {
  driver_.observe(engine);
  std::promise<void> open;
  http_->post([&] {
    api_.open(std::move(model), std::move(layout));
    open.set_value();
  });
  open.get_future().wait();
  on_ready();
  try {
    const bool all_ended = driver_.run(
        engine, wish, drain_s, [this] { set_state(Api::State::draining); },
        [this] { return http_->answering() == 0; });
    http_->stop(kFlushSeconds);
    return all_ended;
  } catch (...) {
    set_state(Api::State::dead);
    http_->stop(kFlushSeconds);
    throw;
  }
}

}  // namespace dinfer
