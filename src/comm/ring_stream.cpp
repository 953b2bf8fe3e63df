#include "comm/ring_stream.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace dinfer {
namespace {

constexpr size_t kScratchBytes = size_t{256} << 10;

// Bytes received; 0: nothing there now, or the connection has ended (then *ended is set).
size_t receive_into(const Socket& socket, std::span<std::byte> out, bool* ended) {
  const ssize_t bytes = recv(socket.fd(), out.data(), out.size(), 0);
  if (bytes > 0) return static_cast<size_t>(bytes);
  if (bytes == 0 || !would_block(errno)) *ended = true;
  return 0;
}

}  // namespace

RingStream::RingStream(RingOperation operation, uint64_t bytes, std::span<const std::byte> own,
                       std::span<const RingHop> hops, RingLink& right, RingLink& left,
                       std::vector<std::byte>& scratch)
    : operation_(operation),
      bytes_(bytes),
      own_(own),
      hops_(hops),
      right_(right),
      left_(left),
      scratch_(scratch),
      segments_(hops.size()) {
  scratch_.resize(kScratchBytes);
  wake_[0] = {.fd = left_.socket.fd(), .events = POLLIN};
  wake_[1] = {.fd = -1, .events = POLLOUT};
}

RingHeader RingStream::header(size_t hop) const {
  return {operation_, static_cast<uint16_t>(hop), right_.sent, bytes_};
}

std::span<const std::byte> RingStream::segment(size_t index) const {
  return index == 0 ? own_ : std::span<const std::byte>(hops_[index - 1].into);
}

// Bytes of a segment that may be sent: those that have arrived.
size_t RingStream::available(size_t index) const {
  if (index <= in_) return segment(index).size();
  return index - 1 == in_ ? in_offset_ : 0;
}

bool RingStream::advance() {
  if (strange_) return false;
  bool moved = true;
  while (!strange_ && moved) {
    moved = sending() && send_some();
    if (receiving() && receive_some()) moved = true;
  }
  wake_[0].fd = receiving() && !left_ended_ ? left_.socket.fd() : -1;
  return !strange_ && !sending() && !receiving();
}

// True when something moved, so that more may.
bool RingStream::send_some() {
  const size_t there = available(out_);
  if (out_ > in_ && there == 0) return false;  // not even its header: nothing has come yet
  RingHeader head = header(out_);
  const size_t head_sent = std::min(out_offset_, sizeof head);
  const std::span<const std::byte> data =
      segment(out_).first(there).subspan(out_offset_ - head_sent);
  std::array<iovec, 2> parts{
      {{reinterpret_cast<std::byte*>(&head) + head_sent, sizeof head - head_sent},
       {const_cast<std::byte*>(data.data()), data.size()}}};
  if (parts[0].iov_len + data.size() == 0) return false;
  const msghdr message{.msg_iov = parts.data(), .msg_iovlen = parts.size()};
  const ssize_t bytes = sendmsg(right_.socket.fd(), &message, MSG_NOSIGNAL);
  // A connection that has ended is not judged here: the pulse tells of the neighbour.
  wake_[1].fd = bytes < 0 && would_block(errno) ? right_.socket.fd() : -1;
  if (bytes < 0) return false;
  out_offset_ += static_cast<size_t>(bytes);
  if (out_offset_ == sizeof head + segment(out_).size()) {
    ++out_;
    out_offset_ = 0;
    if (!sending()) ++right_.sent;
  }
  return true;
}

bool RingStream::receive_some() {
  if (in_header_ < sizeof header_in_) return receive_header();
  const RingHop& hop = hops_[in_];
  if (hop.add) return receive_added(hop);
  const size_t bytes = receive_into(left_.socket, hop.into.subspan(in_offset_), &left_ended_);
  in_offset_ += bytes;
  next_hop_if_whole();
  return bytes > 0;
}

bool RingStream::receive_header() {
  const auto out = std::as_writable_bytes(std::span(&header_in_, 1)).subspan(in_header_);
  const size_t bytes = receive_into(left_.socket, out, &left_ended_);
  in_header_ += bytes;
  if (in_header_ < sizeof header_in_) return bytes > 0;
  strange_ = header_in_.operation != operation_ || header_in_.hop != in_ ||
             header_in_.sequence != left_.received || header_in_.bytes != bytes_;
  if (!strange_) next_hop_if_whole();
  return !strange_;
}

bool RingStream::receive_added(const RingHop& hop) {
  const size_t wanted = std::min(hop.into.size() - in_offset_, scratch_.size()) - carry_;
  const size_t bytes =
      receive_into(left_.socket, std::span(scratch_).subspan(carry_, wanted), &left_ended_);
  const size_t there = carry_ + bytes;
  const size_t floats = there / sizeof(float);
  auto* sums = reinterpret_cast<float*>(hop.into.data() + in_offset_);
  const auto* addends = reinterpret_cast<const float*>(scratch_.data());
  for (size_t i = 0; i < floats; ++i) sums[i] += addends[i];
  carry_ = there - floats * sizeof(float);
  std::memmove(scratch_.data(), scratch_.data() + floats * sizeof(float), carry_);
  in_offset_ += floats * sizeof(float);
  next_hop_if_whole();
  return bytes > 0;
}

void RingStream::next_hop_if_whole() {
  if (in_offset_ < hops_[in_].into.size()) return;
  ++in_;
  in_header_ = 0;
  in_offset_ = 0;
  if (!receiving()) ++left_.received;
}

int RingStream::awaited(int right_rank) const {
  return receiving() ? hops_[in_].origin : right_rank;
}

void RingStream::warn_right(int rank) {
  if (out_offset_ != 0) return;
  const RingHeader warning{RingOperation::out_of_step, 0, right_.sent, static_cast<uint64_t>(rank)};
  // Best effort: the neighbour's own deadline is there as well.
  if (send(right_.socket.fd(), &warning, sizeof warning, MSG_NOSIGNAL) < 0) return;
}

}  // namespace dinfer
