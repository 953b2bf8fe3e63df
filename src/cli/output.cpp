#include "cli/output.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include <poll.h>
#include <unistd.h>

#include "base/error.h"

namespace dinfer {

namespace {

// Whether standard output takes more, or has an error to tell, within the time; -1: for ever.
bool takes_more(int milliseconds) {
  pollfd output{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  const int ready = ::poll(&output, 1, milliseconds);
  if (ready < 0 && errno != EINTR)
    fail(ExitCode::config, "cannot wait for standard output: {}", std::strerror(errno));
  return ready > 0;
}

}  // namespace

size_t write_what_is_taken(std::string_view text) {
  size_t done = 0;
  while (done < text.size() && takes_more(0)) {
    // A pipe that is ready takes this many bytes without waiting.
    const size_t most = std::min<size_t>(text.size() - done, PIPE_BUF);
    const ssize_t written = ::write(STDOUT_FILENO, text.data() + done, most);
    if (written > 0) done += static_cast<size_t>(written);
    if (written < 0 && errno == EAGAIN) break;
    if (written < 0 && errno != EINTR)
      fail(ExitCode::config, "cannot write standard output: {}", std::strerror(errno));
  }
  return done;
}

void write_output(std::string_view text) {
  for (;;) {
    text.remove_prefix(write_what_is_taken(text));
    if (text.empty()) return;
    takes_more(-1);
  }
}

}  // namespace dinfer
