#include "cli/start_signals.h"

#include <csignal>

#include <pthread.h>

namespace dinfer {

namespace {

// A signal handler has nothing else to reach.
volatile std::sig_atomic_t caught_interrupt = 0;
volatile std::sig_atomic_t caught_terminate = 0;
volatile std::sig_atomic_t caught_any = 0;

void note(int signal) {
  caught_any = caught_any + 1;
  if (signal == SIGTERM) caught_terminate = 1;
  if (signal == SIGINT) caught_interrupt = 1;
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;  // without SA_RESTART: waits for input end with EINTR
  sigaction(signal, &action, nullptr);
}

sigset_t drain_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  return set;
}

}  // namespace

void keep_drain_signal() {
  const sigset_t set = drain_signal();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

SignalWatch::SignalWatch() {
  handle(SIGINT, note);
  handle(SIGTERM, note);
  handle(SIGUSR1, note);
  const sigset_t set = drain_signal();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

SignalWatch::~SignalWatch() {
  handle(SIGINT, SIG_DFL);
  handle(SIGTERM, SIG_DFL);
  handle(SIGUSR1, SIG_IGN);
}

std::optional<ExitCode> SignalWatch::caught() const {
  if (caught_terminate) return ExitCode::terminated;
  if (caught_interrupt) return ExitCode::interrupted;
  return std::nullopt;
}

int SignalWatch::count() const { return caught_any; }

void SignalWatch::forget_interrupt() { caught_interrupt = 0; }

}  // namespace dinfer
