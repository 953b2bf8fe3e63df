// A rank of a small job for the fault tests: says who it is, works as told, and ends like dinfer:
// one line, then the whole job with the error's exit code. The line tells when the error was met,
// because mpirun holds back output for a second once it has seen a rank die.
//   fault_rank idle     the head rests, the others wait for its next message
//   fault_rank work     sums and broadcasts without end
//   fault_rank stuck N  as work, but rank N stops taking part after ten steps
//   fault_rank differ   ranks state different facts
//   fault_rank fail N   rank N meets an error of its own (exit 4) while the others wait
//   fault_rank finish   a clean end
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "bootstrap/agree.h"
#include "factory.h"

namespace {

using namespace dinfer;

constexpr std::chrono::duration<double> kStepTimeout{1.0};

Deadline hour() { return Deadline::after(std::chrono::hours(1)); }

[[noreturn]] void sleep_for_ever() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

// What the tests wait for before they do anything to a rank.
void tell_pid(const Bootstrap& job) {
  std::printf("rank %d pid %d\n", job.world.rank, getpid());
  std::fflush(stdout);
}

[[noreturn]] void wait_for_the_head(Bootstrap& job) {
  while (job.world.rank == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    job.control->check_peers();
  }
  Bytes plan;
  job.control->broadcast(plan, hour());
  sleep_for_ever();
}

[[noreturn]] void rest(Bootstrap& job) {
  job.control->set_phase("idle");
  tell_pid(job);
  wait_for_the_head(job);
}

[[noreturn]] void work(Bootstrap& job, int stuck_rank) {
  const auto device = make_device(job.world, true, {});
  const auto group = job.make_communicator(*device, all_ranks(job.world.size));
  std::vector<float> sums(2048);
  for (int step = 0;; ++step) {
    job.control->set_phase("decode step " + std::to_string(step));
    if (step == 10 && job.world.rank == stuck_rank) sleep_for_ever();
    Bytes plan(64);
    job.control->broadcast(plan, Deadline::after(kStepTimeout));
    group->all_reduce_sum(sums);
    if (step == 0) tell_pid(job);
  }
}

void run(Bootstrap& job, const std::string& mode, int rank) {
  const bool chosen = job.world.rank == rank;
  if (mode == "idle") rest(job);
  if (mode == "work") work(job, -1);
  if (mode == "stuck") work(job, rank);
  if (mode == "differ")
    agree(*job.control, job.world, {{"version", "1"}, {"quant", chosen ? "8" : "4"}}, hour());
  if (mode == "fail" && chosen) fail(ExitCode::model_files, "model.safetensors: truncated");
  if (mode == "fail") wait_for_the_head(job);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "finish";
  Bootstrap job = make_bootstrap({.step_timeout = kStepTimeout});
  const bool tells_at_work = mode == "idle" || mode == "work" || mode == "stuck";
  if (!tells_at_work) tell_pid(job);
  job.control->barrier(Deadline::after(std::chrono::seconds(30)));
  try {
    run(job, mode, argc > 2 ? std::atoi(argv[2]) : 1);
    job.finish(Deadline::after(std::chrono::seconds(30)));
    return 0;
  } catch (const Error& error) {
    const std::chrono::duration<double> now = std::chrono::steady_clock::now().time_since_epoch();
    std::fprintf(stderr, "[%d] at %.3f error: %s\n", job.world.rank, now.count(), error.what());
    job.control->abort(error.code());
  }
}
