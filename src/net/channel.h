#pragma once

#include <string>

#include "net/frame.h"
#include "net/socket.h"

namespace dinfer {

// The two directions' keys of one connection, drawn in its handshake.
struct SessionKeys {
  Digest to_listener{};
  Digest to_caller{};
};

enum class Side { caller, listener };

// Frames over a socket, never blocking. A connection that breaks is remembered, not thrown: what
// came before is still given out.
class Channel {
 public:
  Channel(Socket socket, const SessionKeys& keys, Side side);

  const Socket& socket() const { return socket_; }
  int fd() const { return socket_.fd(); }

  // Sends what the socket takes now and keeps the rest for flush().
  void send(uint32_t type, uint32_t call, ByteView payload);
  // True once nothing is left to send, and when the connection is lost.
  bool flush();

  // The next frame if all of it is there.
  std::optional<Frame> receive();

  // Why nothing more will come; empty while the connection stands.
  const std::string& lost() const { return lost_; }

  // The bare socket, for a stream of another form. Nothing may be under way.
  Socket release() { return std::move(socket_); }

  // No more is sent: the other side reads what was, and then the end.
  void finish_sending();

 private:
  void read_some();
  void lose(int error);

  Socket socket_;
  FrameWriter writer_;
  FrameReader reader_;
  std::vector<std::byte> outgoing_;
  size_t sent_ = 0;  // bytes of outgoing_
  std::string lost_;
};

}  // namespace dinfer
