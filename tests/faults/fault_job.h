#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mpi_job.h"

namespace dinfer::test {

inline constexpr Seconds kPatience{30};  // for what only a loaded machine delays

// Pids by rank, once every rank has told its own ("rank 0 pid 123").
std::vector<pid_t> pids(MpiJob& job, int ranks);

// Lets the job settle in its wait or its work.
void settle();

double seconds_since(std::chrono::steady_clock::time_point start);

// When, in seconds of the steady clock (one for all processes), a rank met the error of `line`.
double told_at(const std::string& line);

// No such process, or one that only waits to be reaped.
bool is_gone(pid_t pid);

}  // namespace dinfer::test
