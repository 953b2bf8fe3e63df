#pragma once

#include <string>
#include <string_view>

#include "cli/start_idle.h"
#include "cli/start_signals.h"

namespace dinfer {

// Standard output of a command that has ranks waiting. Its reader may pause for as long as it
// likes, a pager does: what it does not take at once is kept.
class HeadOutput {
 public:
  HeadOutput(Engine& engine, const SignalWatch& signals) : wait_(engine), signals_(signals) {}

  // Never waits: may be called in the midst of a step.
  void add(std::string_view text);

  // Whether so much is kept that no more of it should be made.
  bool is_full() const { return kept_.size() > kMostKept; }

  // Between steps: waits until the reader has taken all. Once a signal asks to end, a reader that
  // takes nothing for two seconds is an Error(config).
  void flush();

  void write(std::string_view text) {
    add(text);
    flush();
  }

 private:
  static constexpr size_t kMostKept = size_t{1} << 20;

  IdleWait wait_;
  const SignalWatch& signals_;
  std::string kept_;
};

}  // namespace dinfer
