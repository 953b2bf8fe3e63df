#include "bootstrap/stopped_processes.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include <fmt/format.h>

namespace dinfer {
namespace {

using namespace std::chrono_literals;

constexpr auto kLookEvery = 250ms;
// Between two looks more may pass when this process was stopped itself: then nothing is known.
constexpr auto kOwnAbsence = 1s;

// "1234 (name) T ...": the name may hold anything, so the state follows its last bracket.
bool is_stopped(int64_t pid) {
  const int file = open(fmt::format("/proc/{}/stat", pid).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  std::array<char, 512> text;
  const ssize_t bytes = read(file, text.data(), text.size());
  close(file);
  const std::string_view line(text.data(), bytes > 0 ? static_cast<size_t>(bytes) : 0);
  const size_t bracket = line.rfind(')');
  if (bracket == std::string_view::npos || bracket + 2 >= line.size()) return false;
  const char state = line[bracket + 2];
  return state == 'T' || state == 't';
}

}  // namespace

void StoppedProcesses::watch(int rank, int64_t pid, std::chrono::duration<double> limit) {
  watched_.push_back({.rank = rank, .pid = pid, .limit = limit});
}

std::optional<StoppedProcess> StoppedProcesses::look() {
  const Clock::time_point now = Clock::now();
  if (watched_.empty() || now - last_look_ < kLookEvery) return std::nullopt;
  const bool was_away = now - last_look_ > kOwnAbsence;
  last_look_ = now;
  std::optional<StoppedProcess> found;
  for (Watched& each : watched_) {
    if (!is_stopped(each.pid)) {
      each.since.reset();
      continue;
    }
    if (was_away || !each.since) each.since = now;
    const std::chrono::duration<double> stopped = now - *each.since;
    if (!found && stopped > each.limit) found = {each.rank, stopped.count()};
  }
  return found;
}

}  // namespace dinfer
