#include "cli/start_state.h"

#include <pthread.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/log.h"
#include "base/signals_blocked.h"

namespace dinfer {
namespace {

sigset_t state_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  return set;
}

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The line of /proc/self/status that begins with `name`, without it.
std::string status_of(const std::filesystem::path& task, const std::string& name) {
  std::ifstream file(task / "status");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name + ":")) continue;
    const size_t value = line.find_first_not_of(" \t", name.size() + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

}  // namespace

void reserve_state_signal() {
  const sigset_t set = state_signal();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

StateFile::StateFile(std::string path, std::function<OrderedJson()> describe)
    : path_(std::move(path)), describe_(std::move(describe)) {
  const SignalsBlocked blocked;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

StateFile::~StateFile() {
  thread_.request_stop();
  pthread_kill(thread_.native_handle(), SIGUSR2);
}

void StateFile::run(const std::stop_token& stop) const {
  const sigset_t set = state_signal();
  for (;;) {
    const bool called = sigwaitinfo(&set, nullptr) == SIGUSR2;
    if (stop.stop_requested()) return;
    if (called) write();
  }
}

void StateFile::write() const {
  const std::string draft = path_ + ".new";
  std::error_code problem;
  {
    std::ofstream file(draft);
    file << describe_().dump(2, ' ', false, OrderedJson::error_handler_t::replace) << "\n";
    file.close();
    if (file) std::filesystem::rename(draft, path_, problem);
    if (!file || problem) {
      log::warn("SIGUSR2: the state cannot be written to {}: choose a folder by --log-dir", path_);
      return;
    }
  }
  log::warn("SIGUSR2: state written to {}", path_);
}

OrderedJson describe_process() {
  OrderedJson threads = OrderedJson::array();
  std::error_code problem;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", problem))
    threads.push_back({{"id", task.path().filename().string()},
                       {"name", first_line(task.path() / "comm")},
                       {"state", status_of(task.path(), "State")},
                       {"in", first_line(task.path() / "wchan")}});
  const auto open_files =
      std::distance(std::filesystem::directory_iterator("/proc/self/fd", problem), {});
  return {{"memory", status_of("/proc/self", "VmRSS")},
          {"descriptors", open_files},
          {"threads", threads}};
}

}  // namespace dinfer
