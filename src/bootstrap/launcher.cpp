#include "bootstrap/launcher.h"

#include <charconv>
#include <string_view>

#include "base/error.h"

namespace dinfer {
namespace {

int number(const char* text) {
  int value = 0;
  if (text) std::from_chars(text, text + std::string_view(text).size(), value);
  return value;
}

// Bootstraps of other releases, by the variable that asks for them.
void refuse_unsupported(const Environment& environment) {
  const struct {
    const char* variable;
    const char* bootstrap;
  } unsupported[] = {{"MISTRALRS_MN_GLOBAL_WORLD_SIZE", "multinode"}, {"RING_CONFIG", "ring"}};
  for (const auto& [variable, bootstrap] : unsupported) {
    if (environment(variable))
      fail(ExitCode::config,
           "{} is set, but this build does not have the {} bootstrap yet: start the ranks with "
           "mpirun or srun, and unset {}",
           variable, bootstrap, variable);
  }
}

void refuse_srun_without_mpi_plugin(const Launcher& launcher, int mpi_ranks) {
  fail(ExitCode::config,
       "srun started {} tasks, but MPI sees a world of {}: start with `srun --mpi=pmix` (`srun "
       "--mpi=list` names the plugins), or use mpirun inside the allocation",
       launcher.ranks, mpi_ranks);
}

}  // namespace

Launcher detect_launcher(const Environment& environment) {
  if (const char* size = environment("OMPI_COMM_WORLD_SIZE"))
    return {.name = "mpirun", .ranks = number(size), .wires_mpi = true};
  const bool wires_mpi = environment("PMIX_RANK") || environment("PMI_RANK");
  // A batch script has SLURM_PROCID as well; only the tasks of a step have SLURM_STEP_NUM_TASKS.
  if (environment("SLURM_PROCID") && environment("SLURM_STEP_NUM_TASKS"))
    return {.name = "srun",
            .ranks = number(environment("SLURM_STEP_NUM_TASKS")),
            .wires_mpi = wires_mpi};
  if (wires_mpi)
    return {.name = "an MPI launcher", .ranks = number(environment("PMI_SIZE")), .wires_mpi = true};
  return {};
}

std::string choose_bootstrap(const std::string& asked, const Launcher& launcher,
                             const Environment& environment, bool has_mpi) {
  refuse_unsupported(environment);
  if (asked == "local") {
    if (launcher.ranks > 1)
      fail(ExitCode::config,
           "--bootstrap local under {} would make {} separate runs: leave the option out, or start "
           "dinfer without {}",
           launcher.name, launcher.ranks, launcher.name);
    return "single";
  }
  check(asked == "auto" || asked == "mpi", "bootstrap option was not validated");
  if (asked == "auto" && !launcher.wires_mpi && launcher.ranks <= 1) return "single";
  if (!has_mpi)
    fail(ExitCode::config,
         "{}, but this dinfer was built without MPI: build it with -DDINFER_MPI=ON, or start it "
         "{}",
         launcher.name.empty() ? "--bootstrap mpi was given" : "started by " + launcher.name,
         launcher.name.empty() ? "without the option" : "directly");
  if (!launcher.wires_mpi && launcher.ranks > 1) refuse_srun_without_mpi_plugin(launcher, 1);
  return "mpi";
}

void check_world_size(const Launcher& launcher, int mpi_ranks) {
  if (launcher.ranks <= mpi_ranks) return;
  if (launcher.name == "srun") refuse_srun_without_mpi_plugin(launcher, mpi_ranks);
  fail(ExitCode::config,
       "{} started {} ranks, but MPI sees a world of {}: the launcher belongs to another MPI than "
       "the one dinfer was built with (`dinfer --version` names it)",
       launcher.name, launcher.ranks, mpi_ranks);
}

}  // namespace dinfer
