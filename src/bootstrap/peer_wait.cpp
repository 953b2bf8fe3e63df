#include "bootstrap/peer_wait.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/log.h"

namespace dinfer {
namespace {

using namespace std::chrono_literals;

// Steps of one decode step are shorter than this, so that a rank in use is never asleep; an idle
// one sleeps a sixteenth of the time already waited, at most 2 ms: little is lost by waking late,
// and at 30 us a wake-up (measured on a virtual machine) it uses 1.5% of a core.
constexpr auto kYieldFor = 1ms;
// Data that moves only while it is polled is given the time it takes at 200 MB/s.
constexpr size_t kNanosecondsPerByte = 5;
constexpr auto kSleepMin = 50us;
constexpr auto kSleepMax = 2ms;
// The head is the first to judge, so that it can tell its clients.
constexpr std::chrono::duration<double> kHeadFirst{0.5};
constexpr auto kSleepMaxWoken = 100ms;  // where a descriptor ends the sleep
// Between two looks of a wait more passes only when this process was not running.
constexpr auto kOwnAbsence = 1s;

}  // namespace

PeerWait::PeerWait(int rank, std::vector<Peer> peers, bool crowded)
    : rank_(rank), peers_(std::move(peers)), crowded_(crowded) {
  for (int r = 0; r < static_cast<int>(peers_.size()); ++r) {
    if (r == rank_ || !peers_[r].watchable) continue;
    const int fd = static_cast<int>(syscall(SYS_pidfd_open, peers_[r].pid, 0));
    if (fd >= 0) {
      watched_.push_back({.fd = fd, .events = POLLIN, .revents = 0});
      watched_rank_.push_back(r);
    } else if (errno == ESRCH) {
      loss_ = Loss{.rank = r};
    } else {
      log::debug("rank {} cannot be watched (pidfd_open: {}): only timeouts tell its death", r,
                 std::generic_category().message(errno));
    }
  }
}

PeerWait::~PeerWait() {
  for (const pollfd& watch : watched_) close(watch.fd);
}

void PeerWait::set_phase(std::string phase) {
  const std::lock_guard lock(state_mutex_);
  phase_ = std::move(phase);
}

std::string PeerWait::state() const {
  const std::lock_guard lock(state_mutex_);
  if (waits_for_.empty()) return phase_;
  const std::chrono::duration<double> waited = Clock::now() - waits_since_;
  return fmt::format("{}: waits in {} for {:.3f} s", phase_, waits_for_, waited.count());
}

void PeerWait::set_longest_stop(std::chrono::duration<double> limit) {
  if (rank_ != 0) limit += kHeadFirst;
  for (int r = 0; r < static_cast<int>(peers_.size()); ++r)
    if (r != rank_ && peers_[r].watchable) stopped_.watch(r, peers_[r].pid, limit);
}

PeerWait::Waiting::Waiting(PeerWait& wait, std::string_view what, Deadline deadline)
    : wait_(wait),
      deadline_(deadline),
      patience_(deadline.remaining()),
      progress_(wait.progress_of_all()),
      moved_(Clock::now()),
      looked_(moved_) {
  const std::lock_guard lock(wait_.state_mutex_);
  wait_.waits_for_ = what;
  wait_.waits_since_ = Clock::now();
}

PeerWait::Waiting::~Waiting() {
  const std::lock_guard lock(wait_.state_mutex_);
  wait_.waits_for_ = {};
}

bool PeerWait::Waiting::is_over() {
  const Clock::time_point now = Clock::now();
  const bool was_away = now - std::exchange(looked_, now) > kOwnAbsence;
  const uint64_t progress = wait_.progress_of_all();
  if (was_away || progress != progress_) moved_ = now;
  progress_ = progress;
  return deadline_.expired() && now - moved_ >= patience_;
}

void PeerWait::relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void PeerWait::set_report(int fd, std::function<std::optional<Loss>()> report) {
  report_fd_ = fd;
  report_ = std::move(report);
}

std::optional<Loss> PeerWait::pause(Clock::duration waited, size_t bytes, Deadline deadline,
                                    std::span<const pollfd> wake) {
  const bool moving = waited < std::chrono::nanoseconds(bytes * kNanosecondsPerByte);
  if (waited >= kYieldFor && !wake.empty())
    look(std::min<Clock::duration>(kSleepMaxWoken, deadline.remaining() + 1ms), wake);
  else if (waited >= kYieldFor)
    look(moving ? Clock::duration::zero()
                : std::clamp<Clock::duration>(waited / 16, kSleepMin, kSleepMax),
         {});
  if (waited < kYieldFor || (moving && wake.empty())) sched_yield();
  return loss_;
}

void PeerWait::look(Clock::duration at_most, std::span<const pollfd> wake) {
  if (loss_) return;
  if (report_) watched_.push_back({.fd = report_fd_, .events = POLLIN, .revents = 0});
  watched_.insert(watched_.end(), wake.begin(), wake.end());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(at_most);
  const timespec timeout{.tv_sec = seconds.count(),
                         .tv_nsec = std::chrono::nanoseconds(at_most - seconds).count()};
  const int ready = ppoll(watched_.data(), watched_.size(), &timeout, nullptr);
  for (size_t i = 0; ready > 0 && i < watched_rank_.size(); ++i)
    if (watched_[i].revents) loss_ = Loss{.rank = watched_rank_[i]};
  watched_.resize(watched_rank_.size());
  if (!loss_ && report_) loss_ = report_();
  if (loss_) return;
  if (const std::optional<StoppedProcess> found = stopped_.look())
    loss_ = Loss{.kind = Loss::Kind::silent, .rank = found->rank, .silence_s = found->seconds};
}

void PeerWait::check_peers() {
  look(Clock::duration::zero(), {});
  if (loss_) fail_lost(*loss_, "");
}

void PeerWait::check_report() {
  if (!loss_ && report_) loss_ = report_();
  if (loss_) fail_lost(*loss_, "");
}

std::string PeerWait::name(int rank) const {
  return fmt::format("rank {} (pid {} on host {})", rank, peers_[rank].pid, peers_[rank].host);
}

// For the end of a message: what this rank was in, where it was in anything.
std::string PeerWait::own_wait(std::string_view what) const {
  return what.empty() ? "" : fmt::format(" (rank {} waited in {})", rank_, what);
}

void PeerWait::fail_lost(const Loss& loss, std::string_view what) const {
  if (loss.rank < 0 || loss.rank >= std::ssize(peers_))
    fail(ExitCode::peer, "the loss of rank {} was told, in a job of {} ranks: a rank is broken",
         loss.rank, peers_.size());
  if (loss.kind == Loss::Kind::silent)
    fail_late({loss.rank}, std::chrono::duration<double>(loss.silence_s), what);
  const int left_behind = endings_ ? endings_[loss.rank].load(std::memory_order_acquire) : 0;
  const int ending = loss.kind == Loss::Kind::ended ? loss.code : left_behind;
  if (ending)
    throw Error(static_cast<ExitCode>(ending),
                fmt::format("{} ended the job with exit code {}: its own message tells why",
                            name(loss.rank), ending));
  fail(
      ExitCode::peer,
      "{} died during {}{}: look for its last lines, for the kernel's out-of-memory killer (dmesg) "
      "or for a signal",
      name(loss.rank), phase_, own_wait(what));
}

void PeerWait::fail_late(const std::vector<int>& missing, std::chrono::duration<double> waited,
                         std::string_view what) const {
  std::vector<std::string> names;
  for (const int r : missing) names.push_back(name(r));
  fail(ExitCode::peer,
       "no answer from {} within {:.1f} s during {}{}: stopped, overloaded, "
       "unreachable or out of step; --start-timeout, --stall-timeout and --step-timeout "
       "bound such waits",
       fmt::join(names, ", "), waited.count(), phase_, own_wait(what));
}

void PeerWait::fail_diverged(int other, std::string_view theirs, std::string_view ours) const {
  fail(ExitCode::peer, "ranks are out of step during {}: {} is in {}, rank {} in {}", phase_,
       name(other), theirs, rank_, ours);
}

}  // namespace dinfer
