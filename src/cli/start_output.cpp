#include "cli/start_output.h"

#include <poll.h>
#include <unistd.h>

#include <optional>

#include "base/deadline.h"
#include "base/error.h"
#include "cli/output.h"

namespace dinfer {

namespace {

constexpr auto kWaitAfterSignal = std::chrono::seconds(2);

}  // namespace

void HeadOutput::add(std::string_view text) {
  kept_ += text;
  kept_.erase(0, write_what_is_taken(kept_));
}

void HeadOutput::flush() {
  std::optional<Deadline> since_signal;
  for (;;) {
    const size_t written = write_what_is_taken(kept_);
    kept_.erase(0, written);
    if (kept_.empty()) return;
    if (written > 0) since_signal.reset();
    if (!since_signal && signals_.caught()) since_signal = Deadline::after(kWaitAfterSignal);
    if (since_signal && since_signal->expired())
      fail(ExitCode::config,
           "cannot write standard output: its reader took nothing for {} s after a signal",
           kWaitAfterSignal.count());
    wait_.ready(STDOUT_FILENO, POLLOUT);
  }
}

}  // namespace dinfer
