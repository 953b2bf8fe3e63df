#include "cli/start_input.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace dinfer {

namespace {

// Whether standard input has bytes, or its end.
bool readable() {
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN};
  return poll(&input, 1, 0) > 0;
}

}  // namespace

std::optional<std::string> LineInput::next_line() {
  size_t end;
  while ((end = buffer_.find('\n')) == std::string::npos && fill()) {
  }
  if (signals_.caught() || (end == std::string::npos && buffer_.empty())) return std::nullopt;
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end == std::string::npos ? end : end + 1);
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

std::string LineInput::rest() {
  while (fill()) {
  }
  return std::move(buffer_);
}

bool LineInput::ready() {
  if (buffer_.find('\n') != std::string::npos) return true;
  while (!ended_ && readable()) {
    if (!fill()) break;
    if (buffer_.find('\n') != std::string::npos) return true;
  }
  return ended_;
}

bool LineInput::fill() {
  while (!ended_ && !signals_.caught()) {
    if (!wait_.ready(STDIN_FILENO, POLLIN)) continue;
    std::array<char, 65536> piece;
    const ssize_t count = read(STDIN_FILENO, piece.data(), piece.size());
    if (count > 0) {
      buffer_.append(piece.data(), static_cast<size_t>(count));
      return true;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(ExitCode::usage, "cannot read standard input: {}", std::strerror(errno));
    ended_ = true;
  }
  return false;
}

}  // namespace dinfer
