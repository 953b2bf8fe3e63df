#include "server/http_server.h"

#include <future>
#include <thread>
#include <unordered_map>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/error.h"
#include "base/log.h"
#include "server/http_session.h"
#include "server/http_tls.h"

namespace dinfer {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// What the system may hold of one connection's answers: without a bound it grows to megabytes, and
// a reader that does not read is noticed late.
constexpr int kSendBufferBytes = 128 * 1024;

// Connections beyond the limits that are told so at the same time.
constexpr size_t kMostRefusing = 64;

}  // namespace

class HttpServer::Core {
 public:
  Core(const std::string& host, uint16_t port, HttpContext context)
      : context_(std::move(context)), acceptor_(io_), retry_(io_) {
    listen(host, port);
  }

  void start() {
    asio::co_spawn(io_, accept_all(), asio::detached);
    thread_ = std::thread([this] { io_.run(); });
  }

  ~Core() { stop(0); }

  void stop(double flush_s) {
    if (!thread_.joinable()) return;
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(flush_s);
    std::promise<void> closed;
    asio::post(io_, [&] {
      error_code ignored;
      acceptor_.close(ignored);
      closed.set_value();
    });
    closed.get_future().wait();
    while (std::chrono::steady_clock::now() < until && answering() > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    io_.stop();
    thread_.join();
  }

  void post(std::function<void()> task) { asio::post(io_, std::move(task)); }

  size_t answering() {
    std::promise<size_t> count;
    asio::post(io_, [&] { count.set_value(context_.counts.answering); });
    return count.get_future().get();
  }

  const std::string& address() const { return address_; }
  uint16_t port() const { return port_; }
  bool loopback() const { return loopback_; }
  bool tls() const { return context_.tls != nullptr; }
  const HttpCounts& counts() const { return context_.counts; }

 private:
  void listen(const std::string& host, uint16_t port) {
    error_code error;
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
    if (error || found.empty()) {
      fail(ExitCode::usage, "--host {}: no such address ({})", host, error.message());
    }
    const tcp::endpoint endpoint = *found.begin();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error == asio::error::address_in_use) {
      fail(ExitCode::address_in_use,
           "{} port {} is in use by another program: end it, or choose another --port", host, port);
    }
    if (error) {
      fail(error == asio::error::access_denied ? ExitCode::address_in_use : ExitCode::usage,
           "cannot listen on {} port {}: {}", host, port, error.message());
    }
    const tcp::endpoint bound = acceptor_.local_endpoint();
    address_ = bound.address().to_string();
    port_ = bound.port();
    loopback_ = bound.address().is_loopback();
  }

  asio::awaitable<void> accept_all() {
    for (;;) {
      error_code error;
      tcp::socket socket =
          co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (!acceptor_.is_open()) co_return;
      if (error) {  // out of descriptors: others will close
        retry_.expires_after(std::chrono::milliseconds(50));
        co_await retry_.async_wait(asio::redirect_error(asio::use_awaitable, error));
        continue;
      }
      admit(std::move(socket));
    }
  }

  void admit(tcp::socket socket) {
    error_code error;
    const tcp::endpoint peer = socket.remote_endpoint(error);
    if (error) return;
    const std::string from = peer.address().to_string();
    ++context_.counts.accepted;
    if (context_.counts.connections >= context_.limits.connections)
      return refuse(std::move(socket), fmt::format("{} connections are open (--max-connections)",
                                                   context_.counts.connections));
    const auto known = by_address_.find(from);
    if (known != by_address_.end() && known->second >= context_.limits.connections_per_address)
      return refuse(std::move(socket),
                    fmt::format("{} connections are open from this address, perhaps by a proxy "
                                "(--max-connections-per-address)",
                                known->second));
    socket.set_option(tcp::no_delay(true), error);
    socket.set_option(tcp::socket::send_buffer_size(kSendBufferBytes), error);
    ++by_address_[from];
    asio::co_spawn(io_, serve_connection(boost::beast::tcp_stream(std::move(socket)), context_),
                   [this, from](const std::exception_ptr& broken) {
                     if (--by_address_[from] == 0) by_address_.erase(from);
                     if (broken) log_broken(broken);
                   });
  }

  static void log_broken(const std::exception_ptr& broken) {
    try {
      std::rethrow_exception(broken);
    } catch (const std::exception& e) {
      log::error("a connection broke off: {}", e.what());
    }
  }

  void refuse(tcp::socket socket, const std::string& why) {
    // A handshake would cost what there is too little of; so would many who do not listen.
    if (tls() || refusing_ >= kMostRefusing) {
      ++context_.counts.refused;
      return;
    }
    ++refusing_;
    asio::co_spawn(io_, turn_away(boost::beast::tcp_stream(std::move(socket)), context_, why),
                   [this](const std::exception_ptr& broken) {
                     --refusing_;
                     if (broken) log_broken(broken);
                   });
  }

  HttpContext context_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  tcp::acceptor acceptor_;
  asio::steady_timer retry_;
  std::unordered_map<std::string, size_t> by_address_;
  size_t refusing_ = 0;
  std::string address_;
  uint16_t port_ = 0;
  bool loopback_ = false;
  std::thread thread_;
};

HttpServer::HttpServer(const std::string& host, uint16_t port, const std::optional<TlsFiles>& tls,
                       const HttpLimits& limits, Handler handler,
                       std::function<HttpResponse(int, const std::string&)> refuse)
    : core_(std::make_unique<Core>(host, port,
                                   HttpContext{limits,
                                               std::move(handler),
                                               std::move(refuse),
                                               tls ? tls_context(*tls) : nullptr,
                                               {}})) {}

HttpServer::~HttpServer() = default;

void HttpServer::start() { core_->start(); }

const std::string& HttpServer::address() const { return core_->address(); }
uint16_t HttpServer::port() const { return core_->port(); }
bool HttpServer::loopback() const { return core_->loopback(); }
bool HttpServer::tls() const { return core_->tls(); }
void HttpServer::post(std::function<void()> task) { core_->post(std::move(task)); }
size_t HttpServer::answering() const { return core_->answering(); }
void HttpServer::stop(double flush_s) { core_->stop(flush_s); }
const HttpCounts& HttpServer::counts() const { return core_->counts(); }

}  // namespace dinfer
