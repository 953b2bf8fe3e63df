#pragma once

#include <optional>
#include <string>

#include "cli/start_idle.h"
#include "cli/start_signals.h"

namespace dinfer {

// Standard input of a command that has ranks waiting. Waits end early when a signal came.
class LineInput {
 public:
  LineInput(Engine& engine, const SignalWatch& signals) : wait_(engine), signals_(signals) {}

  // The next line without its end; none: the input has ended, or a signal came.
  std::optional<std::string> next_line();

  // All that is left, line ends included.
  std::string rest();

  // Whether next_line() would return at once.
  bool ready();

 private:
  // Waits for bytes; false: the input has ended, or a signal came.
  bool fill();

  IdleWait wait_;
  const SignalWatch& signals_;
  std::string buffer_;
  bool ended_ = false;
};

}  // namespace dinfer
