#pragma once

#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "bootstrap/stopped_processes.h"

namespace dinfer {

// A rank of the job as others see it.
struct Peer {
  std::string host;
  int64_t pid = 0;
  bool watchable = false;  // on this host and in this process's pid namespace
};

// How a rank was lost, as a bootstrap's own means tell.
struct Loss {
  enum class Kind { died, silent, ended };
  Kind kind = Kind::died;
  int rank = 0;
  int code = 0;          // ended: the exit code it left with
  double silence_s = 0;  // silent
};

// How a rank waits for others: one object, used by the control plane and by the communicators. It
// spins first, then yields, then sleeps; it knows the deadline, and notices within milliseconds
// when a process of this host dies (pidfd). A deadline is for ranks that do nothing: as long as
// some rank of the job makes progress, since the awaited one may be working or waiting for it, a
// wait goes on until it has seen none for as long as it was to last. What it throws is an
// Error(peer) that names ranks, hosts, the phase and what was waited for.
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

  void set_phase(std::string phase);

  // What this rank does, and what it waits for and since when, for people: from any thread.
  std::string state() const;

  // Processes of this host that stay stopped (SIGSTOP) so long are lost.
  void set_longest_stop(std::chrono::duration<double> limit);

  // Exit codes that ranks of this host leave behind when they end the job, by rank (0: none), in
  // memory shared with them: a peer that ended because of its own error is told from one that died.
  void set_endings(const std::atomic<int>* endings) { endings_ = endings; }

  // This rank has done a part of its work. Where it counts such parts, and the sum over all ranks,
  // as far as it is known here; both outlive the waits. Without it there is no progress.
  void note_progress() {
    if (progress_) progress_->fetch_add(1, std::memory_order_relaxed);
  }
  void set_progress(std::atomic<uint64_t>* own, std::function<uint64_t()> of_all) {
    progress_ = own;
    progress_of_all_ = std::move(of_all);
  }

  // A second way to learn of losses: `fd` is readable once `report` has one to tell. Both outlive
  // the waits.
  void set_report(int fd, std::function<std::optional<Loss>()> report);

  // Returns once done() is true; done() is polled. missing() lists the ranks still waited for.
  // Where done() itself moves data (MPI), `bytes` of it may take their time before this rank
  // sleeps. Sleep ends as soon as one of `wake` is ready, and is longer where there are such.
  template <class Done, class Missing>
  void until(Done&& done, Missing&& missing, Deadline deadline, std::string_view what,
             size_t bytes = 0, std::span<const pollfd> wake = {}) {
    for (int spin = crowded_ ? 1 : kSpins; spin > 0; --spin) {
      if (done()) return;
      relax();
    }
    const Clock::time_point start = Clock::now();
    Waiting waiting(*this, what, deadline);
    while (!done()) {
      const std::optional<Loss> loss = pause(Clock::now() - start, bytes, deadline, wake);
      if (!loss && !waiting.is_over()) continue;
      if (done()) return;
      if (loss) fail_lost(*loss, what);
      fail_late(missing(), Clock::now() - start, what);
    }
  }

  // Throws when a rank was lost.
  void check_peers();
  // The same as far as it has been reported already, without asking the system.
  void check_report();

  [[noreturn]] void fail_lost(const Loss& loss, std::string_view what) const;
  [[noreturn]] void fail_late(const std::vector<int>& missing, std::chrono::duration<double> waited,
                              std::string_view what) const;
  [[noreturn]] void fail_diverged(int other, std::string_view theirs, std::string_view ours) const;

 private:
  using Clock = Deadline::Clock;
  static constexpr int kSpins = 200;

  // A wait while it lasts: tells state() of it, and knows when it has lasted long enough. Time in
  // which this process did not run (Ctrl-Z, a suspended job) does not count.
  class Waiting {
   public:
    Waiting(PeerWait& wait, std::string_view what, Deadline deadline);
    ~Waiting();
    bool is_over();

   private:
    PeerWait& wait_;
    Deadline deadline_;
    Clock::duration patience_;
    uint64_t progress_;
    Clock::time_point moved_;  // when the progress was last seen to change
    Clock::time_point looked_;
  };
  uint64_t progress_of_all() const { return progress_of_all_ ? progress_of_all_() : 0; }

  static void relax();
  // One step of waiting after `waited`; a loss if there is one.
  std::optional<Loss> pause(Clock::duration waited, size_t bytes, Deadline deadline,
                            std::span<const pollfd> wake);
  void look(Clock::duration at_most, std::span<const pollfd> wake);  // for losses
  std::string name(int rank) const;
  std::string own_wait(std::string_view what) const;

  int rank_;
  std::vector<Peer> peers_;
  bool crowded_;
  mutable std::mutex state_mutex_;  // of the next three
  std::string phase_ = "start";
  std::string_view waits_for_;
  Clock::time_point waits_since_;
  std::vector<pollfd> watched_;    // pidfds; then, while looking, the report's and the callers'
  std::vector<int> watched_rank_;  // whose pidfds
  StoppedProcesses stopped_;
  std::optional<Loss> loss_;
  int report_fd_ = -1;
  std::function<std::optional<Loss>()> report_;
  const std::atomic<int>* endings_ = nullptr;
  std::atomic<uint64_t>* progress_ = nullptr;  // of this rank
  std::function<uint64_t()> progress_of_all_;
};

}  // namespace dinfer
