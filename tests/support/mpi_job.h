#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace dinfer::test {

using Seconds = std::chrono::duration<double>;

// `mpirun -np RANKS PROGRAM...` in its own process group, its output read through a pipe. On a
// machine with fewer cores than ranks, too. What still runs at the end is killed.
class MpiJob {
 public:
  MpiJob(int ranks, const std::vector<std::string>& program);
  MpiJob(const MpiJob&) = delete;
  MpiJob& operator=(const MpiJob&) = delete;
  ~MpiJob();

  // Reads until a line that contains `text` has come, and returns it; empty after `limit` or at the
  // end of the output.
  std::string wait_for_line(const std::string& text, Seconds limit);

  // Reads the rest and returns mpirun's exit code (128 + signal if one ended it); -1 after `limit`.
  int wait_for_end(Seconds limit);

  const std::string& output() const { return output_; }

 private:
  bool read_some(std::chrono::steady_clock::time_point until);

  pid_t mpirun_ = -1;
  int pipe_ = -1;
  std::string output_;   // stdout and stderr of all ranks
  size_t searched_ = 0;  // complete lines of `output_` that wait_for_line has passed
};

}  // namespace dinfer::test
