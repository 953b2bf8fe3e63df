#include "cli/start_signals.h"

#include <csignal>

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

}  // namespace

SignalWatch::SignalWatch() {
  handle(SIGINT, note);
  handle(SIGTERM, note);
  handle(SIGUSR1, note);
}

SignalWatch::~SignalWatch() {
  handle(SIGINT, SIG_DFL);
  handle(SIGTERM, SIG_DFL);
  handle(SIGUSR1, SIG_DFL);
}

std::optional<ExitCode> SignalWatch::caught() const {
  if (caught_terminate) return ExitCode::terminated;
  if (caught_interrupt) return ExitCode::interrupted;
  return std::nullopt;
}

int SignalWatch::count() const { return caught_any; }

void SignalWatch::forget_interrupt() { caught_interrupt = 0; }

}  // namespace dinfer
