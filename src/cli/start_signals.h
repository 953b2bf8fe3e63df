#pragma once

#include <optional>

#include "base/error.h"

namespace dinfer {

// SIGUSR1 asks to end well, and nobody to die: what comes before there is a SignalWatch is kept for
// it. Called before there are threads or ranks.
void keep_drain_signal();

// Takes note of SIGINT, SIGTERM and SIGUSR1 instead of dying, while it lives. One at a time.
class SignalWatch {
 public:
  SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  ~SignalWatch();

  // How the process should end: `interrupted` or `terminated`, once such a signal came.
  std::optional<ExitCode> caught() const;

  // How many of these signals came. SIGUSR1 asks a server to end once its work is done; nothing
  // else heeds it.
  int count() const;

  // Forgets an interrupt: it was for the answer alone.
  void forget_interrupt();
};

}  // namespace dinfer
