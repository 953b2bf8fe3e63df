#include "bootstrap/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "base/log.h"

namespace dinfer {
namespace {

using namespace std::chrono_literals;

// After one rank has failed, the others have this long to notice and to say so; then they are asked
// to end, then made to.
constexpr auto kSpeak = 2s;
constexpr auto kEnd = 1s;

constexpr std::array kForwarded = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

sigset_t handled_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  for (const int signal : kForwarded) sigaddset(&set, signal);
  return set;
}

void become_rank(const SupervisorPlan& plan, int local_rank, pid_t supervisor,
                 const sigset_t& mask_before) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != supervisor) _exit(static_cast<int>(ExitCode::peer));
  const int rank = plan.first_rank + local_rank;
  setenv("DINFER_RANK", std::to_string(rank).c_str(), 1);
  if (rank != 0) {
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(nothing, STDIN_FILENO);
    close(nothing);
    // What the terminal sends to all, the head answers for all.
    if (plan.first_rank == 0)
      for (const int number : {SIGINT, SIGTERM, SIGHUP}) signal(number, SIG_IGN);
  }
  sigprocmask(SIG_SETMASK, &mask_before, nullptr);
}

class Supervisor {
 public:
  Supervisor(const SupervisorPlan& plan, std::vector<pid_t> ranks)
      : plan_(plan), ranks_(std::move(ranks)) {}

  int run() {
    const sigset_t handled = handled_signals();
    while (running() > 0) {
      siginfo_t info{};
      const timespec tick{.tv_sec = 0, .tv_nsec = 100'000'000};
      const int signal = sigtimedwait(&handled, &info, &tick);
      if (signal == SIGCHLD || signal < 0)
        reap();
      else if (signal > 0)
        forward(signal, info);
      if (failed_) hurry();
    }
    return exit_code_;
  }

 private:
  long running() const {
    return std::ranges::count_if(ranks_, [](pid_t pid) { return pid > 0; });
  }

  void reap() {
    for (size_t i = 0; i < ranks_.size(); ++i) {
      int status = 0;
      if (ranks_[i] <= 0 || waitpid(ranks_[i], &status, WNOHANG) != ranks_[i]) continue;
      const pid_t pid = std::exchange(ranks_[i], -1);
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
      note_failure(static_cast<int>(i), pid, status);
    }
  }

  void note_failure(int local_rank, pid_t pid, int status) {
    const bool killed = WIFSIGNALED(status);
    if (killed && !asked_to_end_ && interrupted_ != WTERMSIG(status))
      log::error("rank {} (pid {}) was ended by signal {} ({})", plan_.first_rank + local_rank, pid,
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (failed_) return;
    failed_ = Deadline::after(kSpeak);
    if (killed && interrupted_ == WTERMSIG(status))
      exit_code_ = 128 + WTERMSIG(status);
    else
      exit_code_ = killed ? static_cast<int>(ExitCode::peer) : WEXITSTATUS(status);
  }

  // A signal from the terminal has reached all processes of its group already.
  void forward(int signal, const siginfo_t& info) {
    if (signal != SIGUSR2) interrupted_ = signal;
    if (info.si_code == SI_KERNEL) return;
    const bool head_decides = plan_.first_rank == 0 && signal != SIGUSR2;
    for (size_t i = 0; i < ranks_.size() && (i == 0 || !head_decides); ++i)
      if (ranks_[i] > 0) kill(ranks_[i], signal);
  }

  void hurry() {
    if (!failed_->expired()) return;
    for (const pid_t pid : ranks_)
      if (pid > 0) kill(pid, asked_to_end_ ? SIGKILL : SIGTERM);
    asked_to_end_ = true;
    failed_ = Deadline::after(kEnd);
  }

  const SupervisorPlan plan_;
  std::vector<pid_t> ranks_;        // -1: has ended
  std::optional<Deadline> failed_;  // until when the others are left alone
  bool asked_to_end_ = false;
  int interrupted_ = 0;
  int exit_code_ = 0;
};

}  // namespace

Supervised supervise(const SupervisorPlan& plan) {
  const sigset_t handled = handled_signals();
  sigset_t before;
  sigprocmask(SIG_BLOCK, &handled, &before);
  const pid_t supervisor = getpid();
  std::vector<pid_t> ranks;
  for (int local_rank = 0; local_rank < plan.ranks; ++local_rank) {
    const pid_t pid = fork();
    if (pid == 0) {
      if (local_rank > 0 && plan.listener) plan.listener->close();
      become_rank(plan, local_rank, supervisor, before);
      return {.local_rank = local_rank};
    }
    if (pid < 0) {
      const int error = errno;
      for (const pid_t started : ranks) kill(started, SIGKILL);
      fail(ExitCode::config, "cannot start rank {}: fork: {}", plan.first_rank + local_rank,
           std::generic_category().message(error));
    }
    ranks.push_back(pid);
  }
  if (plan.listener) plan.listener->close();
  const int code = Supervisor(plan, std::move(ranks)).run();
  sigprocmask(SIG_SETMASK, &before, nullptr);
  return {.exit_code = code};
}

}  // namespace dinfer
