#include "net/channel.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <string>

namespace dinfer {
namespace {

Deadline within(double seconds) { return Deadline::after(std::chrono::duration<double>(seconds)); }

std::string text_of(const Frame& frame) {
  return {reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size()};
}

// Both ends of a connection over loopback.
struct Pair {
  Socket listener = listen_at({"127.0.0.1", 0});
  Channel caller{connect_to({"127.0.0.1", port_of(listener)}, within(5)), {}, Side::caller};
  Channel listening{accept(), {}, Side::listener};

  Socket accept() {
    EXPECT_TRUE(wait_ready(listener.fd(), POLLIN, within(5)));
    return std::move(*accept_from(listener));
  }
};

TEST(Channel, FramesOfMegabytesPassBothWaysAtOnce) {
  Pair pair;
  const std::string text(3'000'000, 'x');
  pair.caller.send(1, 7, bytes_of(text));
  pair.listening.send(2, 8, bytes_of(text));
  std::optional<Frame> to_caller, to_listener;
  const Deadline deadline = within(10);
  while ((!to_caller || !to_listener) && !deadline.expired()) {
    pair.caller.flush();
    pair.listening.flush();
    if (!to_caller) to_caller = pair.caller.receive();
    if (!to_listener) to_listener = pair.listening.receive();
  }
  ASSERT_TRUE(to_caller && to_listener);
  EXPECT_EQ(to_listener->type, 1u);
  EXPECT_EQ(to_caller->call, 8u);
  EXPECT_TRUE(text_of(*to_caller) == text && text_of(*to_listener) == text);
}

// A side that closes with unread messages resets the connection: what it said before must not be
// lost when this side learns of it by sending.
TEST(Channel, LastWordsAreHeardAlthoughSendingFails) {
  Pair pair;
  pair.listening.send(1, 0, bytes_of("unread"));
  pair.caller.send(3, 0, bytes_of("goodbye"));
  ASSERT_TRUE(wait_ready(pair.caller.fd(), POLLIN, within(5)));
  pair.caller = Channel({}, {}, Side::caller);
  const Deadline deadline = within(5);
  while (pair.listening.lost().empty() && !deadline.expired())
    pair.listening.send(1, 0, bytes_of("anybody there?"));
  EXPECT_FALSE(pair.listening.lost().empty());
  const std::optional<Frame> last = pair.listening.receive();
  ASSERT_TRUE(last) << pair.listening.lost();
  EXPECT_EQ(text_of(*last), "goodbye");
  EXPECT_FALSE(pair.listening.receive());
}

}  // namespace
}  // namespace dinfer
