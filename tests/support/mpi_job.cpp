#include "mpi_job.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace dinfer::test {
namespace {

using Clock = std::chrono::steady_clock;

Clock::time_point after(Seconds limit) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(limit);
}

// What lets mpirun work in any container, as tests/CMakeLists.txt sets it.
void set_environment() {
  const char* const settings[][2] = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                                     {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                                     {"OMPI_MCA_rmaps_base_oversubscribe", "1"},
                                     {"OMPI_MCA_hwloc_base_binding_policy", "none"},
                                     {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"}};
  for (const auto& [name, value] : settings) setenv(name, value, 1);
}

}  // namespace

MpiJob::MpiJob(int ranks, const std::vector<std::string>& program) {
  std::vector<std::string> arguments = {"mpirun", "-np", std::to_string(ranks)};
  arguments.insert(arguments.end(), program.begin(), program.end());
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);

  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  mpirun_ = fork();
  if (mpirun_ < 0) throw std::runtime_error("fork failed");
  if (mpirun_ == 0) {
    setpgid(0, 0);
    set_environment();
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    const int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    execvp("mpirun", pointers.data());
    _exit(127);
  }
  close(ends[1]);
  pipe_ = ends[0];
}

MpiJob::~MpiJob() {
  if (mpirun_ > 0) {
    kill(mpirun_, SIGTERM);  // mpirun ends its ranks
    if (wait_for_end(Seconds(5)) == -1) {
      kill(mpirun_, SIGKILL);
      waitpid(mpirun_, nullptr, 0);
    }
  }
  close(pipe_);
}

std::string MpiJob::wait_for_line(const std::string& text, Seconds limit) {
  const Clock::time_point until = after(limit);
  for (;;) {
    for (size_t end; (end = output_.find('\n', searched_)) != std::string::npos;) {
      const std::string line = output_.substr(searched_, end - searched_);
      searched_ = end + 1;
      if (line.find(text) != std::string::npos) return line;
    }
    if (!read_some(until)) return "";
  }
}

int MpiJob::wait_for_end(Seconds limit) {
  const Clock::time_point until = after(limit);
  while (read_some(until)) {
  }
  // The pipe is closed by the last rank; mpirun follows.
  int status = 0;
  while (waitpid(mpirun_, &status, WNOHANG) == 0) {
    if (Clock::now() >= until) return -1;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  mpirun_ = -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// False at the end of the output and after `until`.
bool MpiJob::read_some(Clock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
  pollfd readable{.fd = pipe_, .events = POLLIN, .revents = 0};
  if (left.count() <= 0 || poll(&readable, 1, static_cast<int>(left.count())) <= 0) return false;
  char buffer[4096];
  const ssize_t bytes = read(pipe_, buffer, sizeof buffer);
  if (bytes > 0) output_.append(buffer, static_cast<size_t>(bytes));
  return bytes > 0;
}

}  // namespace dinfer::test
