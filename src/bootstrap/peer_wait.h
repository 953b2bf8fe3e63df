#pragma once

#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"

namespace dinfer {

// A rank of the job as others see it.
struct Peer {
  std::string host;
  int64_t pid = 0;
  bool watchable = false;  // on this host and in this process's pid namespace
};

// How a rank waits for others: one object, used by the control plane and by the communicators. It
// spins first, then yields, then sleeps; it knows the deadline, and notices within milliseconds
// when a process of this host dies (pidfd). What it throws is an Error(peer) that names ranks,
// hosts, the phase and what was waited for.
class PeerWait {
 public:
  // `peers` by rank, this process included; `crowded`: ranks of this host outnumber its cores, so
  // that spinning would only keep the awaited rank from running.
  PeerWait(int rank, std::vector<Peer> peers, bool crowded);
  PeerWait(const PeerWait&) = delete;
  PeerWait& operator=(const PeerWait&) = delete;
  ~PeerWait();

  int rank() const { return rank_; }
  const Peer& peer(int rank) const { return peers_[rank]; }

  void set_phase(std::string phase) { phase_ = std::move(phase); }

  // Exit codes that ranks of this host leave behind when they end the job, by rank (0: none), in
  // memory shared with them: a peer that ended because of its own error is told from one that died.
  void set_endings(const std::atomic<int>* endings) { endings_ = endings; }

  // Returns once done() is true; done() is polled. missing() lists the ranks still waited for.
  // Where done() itself moves data (MPI), `bytes` of it may take their time before this rank
  // sleeps.
  template <class Done, class Missing>
  void until(Done&& done, Missing&& missing, Deadline deadline, std::string_view what,
             size_t bytes = 0) {
    for (int spin = crowded_ ? 1 : kSpins; spin > 0; --spin) {
      if (done()) return;
      relax();
    }
    const Clock::time_point start = Clock::now();
    while (!done()) {
      const std::optional<int> dead = pause(Clock::now() - start, bytes);
      if (!dead && !deadline.expired()) continue;
      if (done()) return;
      if (dead) fail_dead(*dead, what);
      fail_late(missing(), Clock::now() - start, what);
    }
  }

  // Throws when a process of this host has died.
  void check_peers();

  [[noreturn]] void fail_late(const std::vector<int>& missing, std::chrono::duration<double> waited,
                              std::string_view what) const;
  [[noreturn]] void fail_diverged(int other, std::string_view theirs, std::string_view ours) const;

 private:
  using Clock = Deadline::Clock;
  static constexpr int kSpins = 200;

  static void relax();
  // One step of waiting after `waited`; the rank of a dead peer if there is one.
  std::optional<int> pause(Clock::duration waited, size_t bytes);
  void look(Clock::duration at_most);  // for dead peers
  std::string name(int rank) const;
  [[noreturn]] void fail_dead(int dead, std::string_view what) const;

  int rank_;
  std::vector<Peer> peers_;
  bool crowded_;
  std::string phase_ = "start";
  std::vector<pollfd> watched_;    // pidfds
  std::vector<int> watched_rank_;  // whose
  std::optional<int> dead_;        // died before it could be watched
  const std::atomic<int>* endings_ = nullptr;
};

}  // namespace dinfer
