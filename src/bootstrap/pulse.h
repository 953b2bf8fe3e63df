#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "bootstrap/peer_wait.h"
#include "net/channel.h"
#include "net/event.h"

namespace dinfer {

// Of the time after which a stopped rank is to be named: signs of life come twice a second.
inline constexpr double kSilenceShare = 0.9;

// Signs of life among the ranks of a star, sent and heard by a thread of their own, so that neither
// a long step nor a stuck one hides a loss: the head has a connection with each rank, the others
// with the head, which passes on what it learns. A connection that ends is a rank that died; one
// that is silent for too long is a rank that is stopped or cut off. With its signs of life a rank
// tells how much work it has done, and the head how much all of them.
class Pulse {
 public:
  struct Link {
    int rank;
    Channel channel;
  };

  Pulse(int rank, std::vector<Link> links, std::chrono::duration<double> longest_silence);
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;
  ~Pulse() { leave(); }

  // The first loss; `fd` is readable from then on.
  std::optional<Loss> loss() const;
  int fd() const { return news_.fd(); }

  // What the engine's thread counts of this rank's work, and the sum over the ranks, as far as they
  // have told.
  std::atomic<uint64_t>* own_progress() { return &own_progress_; }
  uint64_t progress() const { return own_progress_ + others_progress_; }

  // Says goodbye: this rank ends, cleanly or with `code`, and the others need not guess why.
  void leave(ExitCode code = ExitCode::ok);

 private:
  using Clock = std::chrono::steady_clock;
  struct Peer {
    Link link;
    Clock::time_point heard;
    bool open = true;
    uint64_t progress = 0;  // as it was told
  };

  void run();
  Clock::time_point next_judgement() const;
  void wait(Clock::time_point until);
  void hear(Peer& peer, Clock::time_point now);
  void take(Peer& peer, const Frame& frame);
  void beat();
  void tell(const Loss& loss, int except);
  void lose(const Loss& loss);
  void say_goodbye();

  const int rank_;
  const Clock::duration longest_silence_;
  const Clock::duration period_;
  std::vector<Peer> peers_;
  Event news_, stop_;
  std::atomic<int> farewell_{0};
  std::atomic<bool> lost_{false};
  std::atomic<uint64_t> own_progress_{0}, others_progress_{0};
  mutable std::mutex mutex_;
  std::optional<Loss> loss_;
  std::thread thread_;
};

}  // namespace dinfer
