#include "cli/output.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <optional>

#include <poll.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/error.h"

namespace dinfer {

namespace {

constexpr auto kWaitAfterSignal = std::chrono::seconds(2);

// Waits until standard output takes more or has an error to tell. A reader may pause for as long as
// it likes, a pager does; once a signal asks to end, no longer than the deadline.
void wait_for_reader(std::optional<Deadline>& since_signal) {
  pollfd output{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  for (;;) {
    const int wait = since_signal ? static_cast<int>(since_signal->remaining().count()) : -1;
    const int ready = ::poll(&output, 1, wait);
    if (ready > 0) return;
    if (ready == 0) {
      fail(ExitCode::config,
           "cannot write standard output: its reader took nothing for {} s after a signal",
           kWaitAfterSignal.count());
    }
    if (errno != EINTR)
      fail(ExitCode::config, "cannot wait for standard output: {}", std::strerror(errno));
    if (!since_signal) since_signal = Deadline::after(kWaitAfterSignal);
  }
}

}  // namespace

void write_output(std::string_view text) {
  std::optional<Deadline> since_signal;
  while (!text.empty()) {
    wait_for_reader(since_signal);
    // A pipe that is ready takes this many bytes without waiting.
    const ssize_t written =
        ::write(STDOUT_FILENO, text.data(), std::min<size_t>(text.size(), PIPE_BUF));
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR && errno != EAGAIN) {
      fail(ExitCode::config, "cannot write standard output: {}", std::strerror(errno));
    }
  }
}

}  // namespace dinfer
