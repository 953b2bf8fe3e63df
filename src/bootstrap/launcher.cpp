#include "bootstrap/launcher.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bootstrap/world.h"

namespace dinfer {
namespace {

int number(const char* text) {
  int value = 0;
  if (text) std::from_chars(text, text + std::string_view(text).size(), value);
  return value;
}

constexpr auto kMultinode = "MISTRALRS_MN_GLOBAL_WORLD_SIZE";
constexpr auto kRing = "RING_CONFIG";
constexpr auto kNoNccl = "MISTRALRS_NO_NCCL";

// The bootstraps that variables ask for, by variable.
struct Request {
  std::string variable;
  std::string bootstrap;
};

std::vector<Request> requests(const Environment& environment) {
  std::vector<Request> found;
  for (const char* variable :
       {kMultinode, "MISTRALRS_MN_HEAD_NUM_WORKERS", "MISTRALRS_MN_HEAD_PORT",
        "MISTRALRS_MN_WORKER_SERVER_ADDR", "MISTRALRS_MN_WORKER_ID"})
    if (found.empty() && environment(variable)) found.push_back({variable, "multinode"});
  if (environment(kRing)) found.push_back({kRing, "ring"});
  return found;
}

// What is asked for in two ways must be the same.
void refuse_contradictions(const BootstrapWishes& wishes, const Launcher& launcher,
                           const std::vector<Request>& asked) {
  if (asked.size() > 1)
    fail(ExitCode::config, "{} asks for a {} job and {} for a {} job: unset one of them",
         asked[0].variable, asked[0].bootstrap, asked[1].variable, asked[1].bootstrap);
  if (!asked.empty() && (launcher.ranks > 1 || launcher.wires_mpi))
    fail(ExitCode::config,
         "{} asks for a {} job, but {} started this rank, which makes it an MPI job: unset {}, or "
         "start dinfer without {}",
         asked[0].variable, asked[0].bootstrap, launcher.name, asked[0].variable, launcher.name);
  if (!asked.empty() && wishes.asked != "auto" && wishes.asked != asked[0].bootstrap)
    fail(ExitCode::config, "--bootstrap {}, but {} asks for a {} job: leave one of them out",
         wishes.asked, asked[0].variable, asked[0].bootstrap);
  if (asked.empty() && (wishes.asked == "multinode" || wishes.asked == "ring"))
    fail(ExitCode::config, "--bootstrap {} needs {}, which is not set", wishes.asked,
         wishes.asked == "ring" ? kRing : kMultinode);
}

// A job that variables describe: GPUs of nodes talk by NCCL, those of a ring must not.
BootstrapChoice choose_described(const BootstrapWishes& wishes, const Request& asked,
                                 const Environment& environment) {
  const VisibleGpus gpus = wishes.gpus();
  const bool forbidden = is_nccl_forbidden(environment);
  if (gpus.count > 0 && asked.bootstrap == "multinode" && forbidden)
    fail(ExitCode::config,
         "{} asks for a job whose GPUs talk by NCCL, and {} forbids it: unset {}, or use --cpu",
         asked.variable, kNoNccl, kNoNccl);
  if (gpus.count > 0 && gpus.nccl && asked.bootstrap == "ring" && !forbidden)
    fail(ExitCode::config,
         "{} asks for the ring, but NCCL is here for the GPUs: set {}=1 to force the ring, or "
         "unset {}",
         asked.variable, kNoNccl, asked.variable);
  return {asked.bootstrap, asked.variable + " is set", std::max(1, gpus.count)};
}

// One rank for each device of a manual mapping.
BootstrapChoice choose_mapped(const BootstrapWishes& wishes, const MappedDevices& mapped) {
  const int gpus = wishes.gpus().count;
  if (gpus > 0 && mapped.highest_gpu >= gpus)
    fail(ExitCode::config,
         "{} names GPU {}, and {} visible: 0 to {} (CUDA_VISIBLE_DEVICES chooses them and numbers "
         "them from 0)",
         mapped.source, mapped.highest_gpu, gpus == 1 ? "one is" : fmt::format("{} are", gpus),
         gpus - 1);
  return {mapped.ranks > 1 ? "local" : "single", "no launcher", mapped.ranks};
}

// What --tp, --pp and --dp make together.
struct GroupWishes {
  int64_t ranks = 1;
  std::string text;
};

GroupWishes group_wishes(const BootstrapWishes& wishes) {
  GroupWishes groups;
  const std::array<std::pair<const char*, int>, 3> given{
      {{"--tp", wishes.tp}, {"--pp", wishes.pp}, {"--dp", wishes.dp}}};
  for (const auto& [option, number] : given) {
    if (number == 0) continue;
    groups.ranks = std::min<int64_t>(groups.ranks * number, kMostRanks + 1);
    groups.text += fmt::format("{}{} {}", groups.text.empty() ? "" : " ", option, number);
  }
  return groups;
}

// Ranks of this machine alone: as many as the command line says, or one for each visible GPU.
BootstrapChoice choose_on_this_machine(const BootstrapWishes& wishes,
                                       const Environment& environment) {
  if (const auto mapped = wishes.mapped()) return choose_mapped(wishes, *mapped);
  const GroupWishes groups = group_wishes(wishes);
  if (groups.ranks > kMostRanks)
    fail(ExitCode::config, "{} makes more than {} ranks: start fewer", groups.text, kMostRanks);
  if (groups.ranks > 1)
    return {"local", groups.text + " without a launcher", static_cast<int>(groups.ranks)};
  const VisibleGpus gpus = wishes.tp == 1 || wishes.pp == 1 ? VisibleGpus{} : wishes.gpus();
  const bool without_nccl = !gpus.nccl || is_nccl_forbidden(environment);
  const bool by_layers =
      wishes.mode == "layers" || (wishes.mode == "auto" && (gpus.count == 1 || without_nccl));
  std::string reason = fmt::format("{} visible GPU{}", gpus.count, gpus.count == 1 ? "" : "s");
  if (gpus.count > 0 && by_layers && wishes.too_large(gpus))
    return {"local", reason + ", too small for the model without the CPU", gpus.count + 1,
            Sharing::layers_with_cpu};
  if (gpus.count <= 1)
    return {"single", wishes.asked == "local" ? "--bootstrap local"
                                              : "no launcher, MISTRALRS_MN_* or RING_CONFIG"};
  if (by_layers && wishes.mode == "auto")
    reason += gpus.nccl ? fmt::format(", {} is set", kNoNccl) : ", no NCCL";
  return {"local", reason, gpus.count, by_layers ? Sharing::layers : Sharing::tensors};
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

BootstrapChoice choose_bootstrap(const BootstrapWishes& wishes, const Launcher& launcher,
                                 const Environment& environment) {
  const std::vector<Request> asked = requests(environment);
  refuse_contradictions(wishes, launcher, asked);
  if (!asked.empty()) return choose_described(wishes, asked[0], environment);
  if (wishes.asked == "local") {
    if (launcher.ranks > 1)
      fail(ExitCode::config,
           "--bootstrap local under {} would make {} separate runs: leave the option out, or start "
           "dinfer without {}",
           launcher.name, launcher.ranks, launcher.name);
    return choose_on_this_machine(wishes, environment);
  }
  if (wishes.asked == "auto" && !launcher.wires_mpi && launcher.ranks <= 1)
    return choose_on_this_machine(wishes, environment);
  if (!wishes.has_mpi)
    fail(ExitCode::config,
         "{}, but this dinfer was built without MPI: build it with -DDINFER_MPI=ON, or start it "
         "{}",
         launcher.name.empty() ? "--bootstrap mpi was given" : "started by " + launcher.name,
         launcher.name.empty() ? "without the option" : "directly");
  if (!launcher.wires_mpi && launcher.ranks > 1) refuse_srun_without_mpi_plugin(launcher, 1);
  return {"mpi", launcher.name.empty() ? "--bootstrap mpi" : "started by " + launcher.name};
}

bool is_nccl_forbidden(const Environment& environment) {
  const char* value = environment(kNoNccl);
  return value && (std::string_view(value) == "1" || std::string_view(value) == "true");
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
