#include "net/channel.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace dinfer {
Channel::Channel(Socket socket, const SessionKeys& keys, Side side)
    : socket_(std::move(socket)),
      writer_(side == Side::caller ? keys.to_listener : keys.to_caller),
      reader_(side == Side::caller ? keys.to_caller : keys.to_listener) {}

void Channel::send(uint32_t type, uint32_t call, ByteView payload) {
  if (!lost_.empty()) return;
  writer_.append(outgoing_, type, call, payload);
  flush();
}

bool Channel::flush() {
  while (lost_.empty() && sent_ < outgoing_.size()) {
    const ssize_t bytes =
        ::send(fd(), outgoing_.data() + sent_, outgoing_.size() - sent_, MSG_NOSIGNAL);
    if (bytes < 0 && would_block(errno)) return false;
    if (bytes < 0)
      lose(errno);
    else
      sent_ += static_cast<size_t>(bytes);
  }
  outgoing_.clear();
  sent_ = 0;
  return true;
}

std::optional<Frame> Channel::receive() {
  try {
    if (std::optional<Frame> frame = reader_.next()) return frame;
    if (!lost_.empty()) return std::nullopt;
    read_some();
    return reader_.next();
  } catch (const Error& error) {
    lost_ = error.what();
    return std::nullopt;
  }
}

// The other side may have said why it left before it closed.
void Channel::lose(int error) {
  read_some();
  if (lost_.empty()) lost_ = std::generic_category().message(error);
}

void Channel::read_some() {
  std::array<std::byte, 65536> buffer;
  for (;;) {
    const ssize_t bytes = recv(fd(), buffer.data(), buffer.size(), 0);
    if (bytes > 0) reader_.add(ByteView(buffer).first(static_cast<size_t>(bytes)));
    if (bytes == 0) lost_ = "the other side closed it";
    if (bytes < 0 && !would_block(errno)) lost_ = std::generic_category().message(errno);
    if (bytes < static_cast<ssize_t>(buffer.size())) return;
  }
}

void Channel::finish_sending() { shutdown(fd(), SHUT_WR); }

}  // namespace dinfer
