#pragma once

#include <deque>
#include <string>
#include <vector>

#include "net/channel.h"

namespace dinfer {

// What a connection is for.
enum class Purpose : uint32_t { control = 1, pulse = 2, ring = 3, pair = 4 };

// What a rank says of itself when it connects to another.
struct Hello {
  uint32_t purpose = 0;
  int32_t rank = 0;
  int32_t size = 0;        // of the world
  int32_t local_size = 0;  // ranks of its node
  int64_t pid = 0;
  uint64_t machine = 0;  // equal on one running system
  char host[64] = "";
};

Hello introduce(Purpose purpose, int rank, int size, int local_size);

// Both sides prove that they know the secret before anything else is said: the caller sends its
// hello and a nonce, the listener a nonce and an HMAC over both, the caller an HMAC in turn. Less
// than 256 bytes are read of a caller that has not proved it. An empty secret proves nothing: it is
// for jobs that chose so.

// Calls a listener, until the deadline or until `look` throws. Error(config): another protocol
// version or secret; Error(peer): no connection, or it broke off.
Channel call(const HostPort& to, std::string_view secret, const Hello& hello, Deadline deadline,
             const Look& look = [] {});

// A caller that has proved the secret.
struct Guest {
  Channel channel;
  Hello hello;
  std::string from;  // numeric address
};

// The listening side. Callers that send nothing, too little or something else are turned away and
// cannot keep others out.
class Reception {
 public:
  Reception(const Socket& listener, std::string secret)
      : listener_(listener), secret_(std::move(secret)) {}

  // The next guest; none at the deadline.
  std::optional<Guest> next(Deadline deadline);

  // Who was turned away last and why, for messages; empty: nobody.
  const std::string& last_refusal() const { return last_refusal_; }

 private:
  struct Visitor {  // half-way
    Socket socket;
    std::string from;
    Deadline patience;
    std::vector<std::byte> received;
    std::vector<std::byte> greeting;  // the caller's, once whole
    Nonce nonce{};
  };
  enum class Progress { waits, leaves, is_guest };

  void take_new();
  bool make_room();  // for one more visitor
  Progress advance(Visitor& visitor);
  bool is_understood(const Visitor& visitor);  // as far as it has come
  Progress greet(Visitor& visitor);
  Progress judge(Visitor& visitor);
  void refuse(const Visitor& visitor, const std::string& why);
  Guest welcome(Visitor visitor) const;

  const Socket& listener_;
  std::string secret_;
  std::deque<Visitor> visitors_;  // oldest first
  std::string last_refusal_;
  int refusals_ = 0;
};

}  // namespace dinfer
