#include "fault_job.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace dinfer::test {
namespace {

bool is_gone_now(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string id, name, state;
  file >> id >> name >> state;
  return !file || state == "Z" || state == "X";
}

}  // namespace

std::vector<pid_t> pids(MpiJob& job, int ranks) {
  std::vector<pid_t> all(static_cast<size_t>(ranks));
  for (int told = 0; told < ranks; ++told) {
    const std::string line = job.wait_for_line("pid ", kPatience);
    int rank = -1, pid = 0;
    if (std::sscanf(line.c_str(), "rank %d pid %d", &rank, &pid) != 2 || rank < 0 ||
        rank >= ranks) {
      ADD_FAILURE() << "the job did not start: " << job.output();
      return {};
    }
    all[static_cast<size_t>(rank)] = pid;
  }
  return all;
}

void settle() { usleep(300'000); }

double seconds_since(std::chrono::steady_clock::time_point start) {
  return Seconds(std::chrono::steady_clock::now() - start).count();
}

double told_at(const std::string& line) {
  double when = 0;
  EXPECT_EQ(std::sscanf(line.c_str(), "[%*d] at %lf", &when), 1) << line;
  return when;
}

bool is_gone(pid_t pid) {
  for (int tries = 0; tries < 500 && !is_gone_now(pid); ++tries) usleep(10'000);
  return is_gone_now(pid);
}

}  // namespace dinfer::test
