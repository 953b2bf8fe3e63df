#include "net/handshake.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <future>
#include <string>

#include "base/error.h"

namespace dinfer {
namespace {

constexpr auto kSecret = "the secret of this test";

Deadline within(double seconds) { return Deadline::after(std::chrono::duration<double>(seconds)); }

// Listens on loopback; guests come out of a thread.
class Handshake : public testing::Test {
 protected:
  std::future<std::optional<Guest>> receive(double seconds, const std::string& secret = kSecret) {
    return std::async(std::launch::async, [this, seconds, secret] {
      Reception reception(listener_, secret);
      std::optional<Guest> guest = reception.next(within(seconds));
      refusal_ = reception.last_refusal();
      return guest;
    });
  }

  Socket connect() { return connect_to(here_, within(5)); }

  Channel call_as(int rank, const std::string& secret = kSecret) {
    return call(here_, secret, introduce(Purpose::control, rank, 4, 2), within(5));
  }

  // What a caller sends first, taken from the wire by a listener in between.
  static std::string recorded_greeting() {
    const Socket middle = listen_at({"127.0.0.1", 0});
    const auto calling = std::async(std::launch::async, [&] {
      EXPECT_THROW(call({"127.0.0.1", port_of(middle)}, kSecret,
                        introduce(Purpose::control, 1, 4, 2), within(0.5)),
                   Error);
    });
    EXPECT_TRUE(wait_ready(middle.fd(), POLLIN, within(5)));
    const std::optional<Socket> victim = accept_from(middle);
    std::string greeting(512, '\0');
    EXPECT_TRUE(victim && wait_ready(victim->fd(), POLLIN, within(5)));
    const ssize_t bytes = recv(victim->fd(), greeting.data(), greeting.size(), 0);
    EXPECT_GT(bytes, 100);
    greeting.resize(static_cast<size_t>(bytes));
    return greeting;
  }

  static void send_text(const Socket& socket, std::string_view text) {
    EXPECT_EQ(send(socket.fd(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  Socket listener_ = listen_at({"127.0.0.1", 0});
  HostPort here_{"127.0.0.1", port_of(listener_)};
  std::string refusal_;
};

template <class Action>
std::string refused_as_config(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::config) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return "";
}

TEST_F(Handshake, BothSidesLearnWhoTheOtherIsAndCanTalk) {
  auto receiving = receive(5);
  Channel caller = call_as(3);
  std::optional<Guest> guest = receiving.get();
  ASSERT_TRUE(guest);
  EXPECT_EQ(guest->hello.rank, 3);
  EXPECT_EQ(guest->hello.size, 4);
  EXPECT_EQ(guest->hello.pid, getpid());
  EXPECT_EQ(guest->from, "127.0.0.1");
  caller.send(5, 6, bytes_of("hello"));
  ASSERT_TRUE(wait_ready(guest->channel.fd(), POLLIN, within(5)));
  const std::optional<Frame> frame = guest->channel.receive();
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->type, 5u);
  EXPECT_EQ(frame->payload.size(), 5u);
}

TEST_F(Handshake, AnotherSecretIsFoundOutOnBothSides) {
  auto receiving = receive(1);
  EXPECT_NE(refused_as_config([&] { call_as(1, "quite another secret"); }).find("another secret"),
            std::string::npos);
  EXPECT_FALSE(receiving.get());
  EXPECT_NE(refusal_.find("secret"), std::string::npos) << refusal_;
}

TEST_F(Handshake, AnotherVersionIsNamedOnBothSides) {
  auto receiving = receive(1);
  const Socket socket = connect();
  std::string greeting("dinfer\r\n\x63\0\0\0\x10\0\0\0", 16);
  send_text(socket, greeting);
  std::array<char, 16> reply{};
  ASSERT_TRUE(wait_ready(socket.fd(), POLLIN, within(5)));
  ASSERT_EQ(recv(socket.fd(), reply.data(), reply.size(), 0), 16);
  EXPECT_EQ(std::string(reply.data(), 8), "dinfer\r\n");
  EXPECT_EQ(reply[8], 1);
  EXPECT_FALSE(receiving.get());
  EXPECT_NE(refusal_.find("version 99"), std::string::npos) << refusal_;
}

TEST_F(Handshake, GarbageAndSilenceKeepNobodyOut) {
  std::vector<Socket> strangers;
  for (int i = 0; i < 300; ++i) {
    strangers.push_back(connect());
    if (i % 3 == 0) send_text(strangers.back(), "GET / HTTP/1.1\r\n\r\n");
    if (i % 3 == 1) send_text(strangers.back(), "dinfer\r\n");
  }
  auto receiving = receive(10);
  Channel caller = call_as(2);
  const std::optional<Guest> guest = receiving.get();
  ASSERT_TRUE(guest);
  EXPECT_EQ(guest->hello.rank, 2);
}

TEST_F(Handshake, ARecordedGreetingIsOfNoUse) {
  const std::string recorded = recorded_greeting();
  auto receiving = receive(1.5);
  // The attacker plays it again and, having no secret, answers with the listener's own proof.
  const Socket attacker = connect();
  send_text(attacker, recorded);
  std::array<char, 80> reply{};
  ASSERT_TRUE(wait_ready(attacker.fd(), POLLIN, within(5)));
  ASSERT_EQ(recv(attacker.fd(), reply.data(), reply.size(), 0), 80);
  send_text(attacker, std::string_view(reply.data() + 48, 32));
  EXPECT_FALSE(receiving.get());
  EXPECT_NE(refusal_.find("another secret"), std::string::npos) << refusal_;
}

// As many ranks as you like may call at once.
TEST_F(Handshake, ACallerThatHasGreetedIsNotPushedOutByOthers) {
  const std::string greeting = recorded_greeting();
  auto receiving = receive(1);
  const Socket greeted = connect();
  send_text(greeted, greeting);
  std::array<char, 80> reply{};
  ASSERT_TRUE(wait_ready(greeted.fd(), POLLIN, within(5)));
  ASSERT_EQ(recv(greeted.fd(), reply.data(), reply.size(), 0), 80);
  std::vector<Socket> others;
  for (int i = 0; i < 200; ++i) others.push_back(connect());
  EXPECT_FALSE(wait_ready(greeted.fd(), POLLIN, within(0.5))) << "the connection was closed";
  EXPECT_FALSE(receiving.get());
}

TEST(Address, HostsAndPortsAreReadInAllForms) {
  EXPECT_EQ(parse_host_port("node0:9000", "X").host, "node0");
  EXPECT_EQ(parse_host_port("10.0.0.1:9000", "X").port, 9000);
  EXPECT_EQ(parse_host_port("[fd00::1]:9000", "X").host, "fd00::1");
  EXPECT_EQ(parse_host_port("[fd00::1]:9000", "X").text(), "[fd00::1]:9000");
  for (const char* bad : {"", "node0", "node0:", "node0:0", "node0:65536", "node0:9x", ":9000",
                          "fd00::1:9000", "[fd00::1]"})
    refused_as_config([&] { parse_host_port(bad, "X"); });
}

TEST(Connection, ThatNobodyTakesEndsAtTheDeadline) {
  const uint16_t closed = port_of(listen_at({"127.0.0.1", 0}));
  const auto begin = Deadline::Clock::now();
  try {
    connect_to({"127.0.0.1", closed}, within(0.3));
    FAIL() << "connected to a closed port";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::peer);
    EXPECT_NE(std::string(error.what()).find("refused"), std::string::npos) << error.what();
  }
  EXPECT_LT(std::chrono::duration<double>(Deadline::Clock::now() - begin).count(), 1.5);
}

TEST(Connection, WorksOverIpv6WhereThereIsIt) {
  try {
    const Socket listener = listen_at({"::1", 0});
    const Socket socket = connect_to({"::1", port_of(listener)}, within(2));
    EXPECT_EQ(peer_address(socket), "::1");
  } catch (const Error& error) {
    GTEST_SKIP() << "no IPv6 here: " << error.what();
  }
}

}  // namespace
}  // namespace dinfer
