#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "bootstrap/tcp_session.h"
#include "net/event.h"
#include "net/socket.h"

namespace dinfer {

// Messages between pairs of ranks over TCP, a connection for each direction that is used: the first
// send makes it. A thread takes connections at the listener; another, which the first message that
// a socket does not take whole starts, sends on what is left. So neither a send nor its progress
// depends on what the ranks' engines do meanwhile. Ranks are those of the job.
class TcpMail {
 public:
  // `places`: where each rank of the job listens, this one at `listener`.
  TcpMail(std::shared_ptr<TcpSession> session, Socket listener, std::vector<HostPort> places,
          std::string secret);
  TcpMail(const TcpMail&) = delete;
  TcpMail& operator=(const TcpMail&) = delete;
  ~TcpMail();  // gives the last messages a while to leave

  // Waits only for a connection, or where kMostBytes wait to be sent to `peer`.
  void send(int peer, std::span<const std::byte> data, Deadline deadline);
  // Another length than was sent is an Error(peer).
  void receive(int peer, std::span<std::byte> data, Deadline deadline);

 private:
  static constexpr size_t kMostBytes = size_t{256} << 20;
  static constexpr size_t kChunk = size_t{64} << 20;

  struct Header {
    uint64_t number;  // of the messages on this connection
    uint64_t bytes;
  };
  struct Outgoing {
    Socket socket;
    uint64_t sent = 0;                           // messages
    std::deque<std::vector<std::byte>> backlog;  // what the socket did not take yet
    size_t offset = 0;                           // bytes of the first that it took
    size_t bytes = 0;                            // of all that is left
  };
  struct Incoming {
    Socket socket;
    uint64_t received = 0;  // messages
  };

  Outgoing& connection_to(int peer, Deadline deadline);
  Incoming* connection_from(int peer);
  void enqueue(Outgoing& to, std::span<const std::byte> head, std::span<const std::byte> data);
  void take_connections();
  void send_backlogs();
  static bool flush(Outgoing& to);
  size_t backlog_of(const Outgoing& to);
  bool has_backlog();

  std::shared_ptr<TcpSession> session_;
  Socket listener_;
  std::vector<HostPort> places_;
  std::string secret_;
  std::mutex mutex_;                   // of the next two
  std::map<int, Outgoing> outgoing_;   // by rank
  std::map<int, Incoming> incoming_;   // by rank; a rank's own is used by the engine's thread alone
  Event arrival_, backlogged_, stop_;  // a connection came; more to send; the end
  std::atomic<bool> stopping_{false};
  std::thread doorkeeper_, carrier_;
};

}  // namespace dinfer
