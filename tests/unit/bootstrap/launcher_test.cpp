#include "bootstrap/launcher.h"

#include <algorithm>

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "tests/unit/bootstrap/refusal.h"

namespace dinfer {
namespace {

using Variables = std::map<std::string, std::string>;

Environment environment(Variables variables) {
  return [variables = std::move(variables)](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

std::string choose(const std::string& asked, const Variables& variables, bool has_mpi = true,
                   int tp = 0) {
  const Environment here = environment(variables);
  return choose_bootstrap({.asked = asked, .tp = tp, .has_mpi = has_mpi}, detect_launcher(here),
                          here)
      .name;
}

const Variables kMpirun = {{"OMPI_COMM_WORLD_SIZE", "3"}, {"PMIX_RANK", "0"}};
const Variables kSrun = {{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "4"}};
const Variables kSrunPmix = {
    {"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"PMIX_RANK", "1"}};

TEST(Launcher, WithoutOneTheProcessIsAlone) {
  EXPECT_EQ(choose("auto", {}), "single");
  EXPECT_EQ(choose("local", {}), "single");
  EXPECT_EQ(choose("mpi", {}), "mpi");
}

TEST(Launcher, BatchScriptOfSlurmIsNoStep) {
  EXPECT_EQ(choose("auto", {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}), "single");
}

TEST(Launcher, MpirunAndSrunLeadToMpi) {
  EXPECT_EQ(choose("auto", kMpirun), "mpi");
  EXPECT_EQ(choose("auto", kSrunPmix), "mpi");
  EXPECT_EQ(choose("auto", {{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}), "mpi");
}

TEST(Launcher, MpirunInsideAnAllocationCountsItsOwnRanks) {
  Variables nested = kSrun;
  nested.insert(kMpirun.begin(), kMpirun.end());
  const Launcher launcher = detect_launcher(environment(nested));
  EXPECT_EQ(launcher.name, "mpirun");
  EXPECT_EQ(launcher.ranks, 3);
}

TEST(Launcher, ABuildWithoutMpiRefusesToRunAsManyStrangers) {
  EXPECT_NE(refusal([] { choose("auto", kMpirun, false); }).find("built without MPI"),
            std::string::npos);
  EXPECT_NE(refusal([] { choose("auto", kSrun, false); }).find("built without MPI"),
            std::string::npos);
  EXPECT_EQ(choose("auto", {}, false), "single");
}

TEST(Launcher, LocalUnderALauncherOfSeveralIsRefused) {
  EXPECT_NE(refusal([] { choose("local", kMpirun); }).find("3 separate runs"), std::string::npos);
  EXPECT_EQ(choose("local", {{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}), "single");
}

TEST(Launcher, SrunWithoutItsMpiPluginIsRefusedBeforeAndAfterMpiStarts) {
  EXPECT_NE(refusal([] { choose("auto", kSrun); }).find("--mpi=pmix"), std::string::npos);
  const Launcher srun = detect_launcher(environment(kSrunPmix));
  EXPECT_NE(refusal([&] { check_world_size(srun, 1); }).find("--mpi=pmix"), std::string::npos);
  EXPECT_NO_THROW(check_world_size(srun, 4));
}

const Variables kHead = {{"MISTRALRS_MN_GLOBAL_WORLD_SIZE", "4"},
                         {"MISTRALRS_MN_HEAD_NUM_WORKERS", "1"},
                         {"MISTRALRS_MN_HEAD_PORT", "9000"}};
const Variables kRing = {{"RING_CONFIG", "ring.json"}};

Variables both(Variables first, const Variables& second) {
  first.insert(second.begin(), second.end());
  return first;
}

TEST(Launcher, VariablesAndTpChooseTheBootstrap) {
  EXPECT_EQ(choose("auto", kHead, false), "multinode");
  EXPECT_EQ(choose("multinode", kHead), "multinode");
  EXPECT_EQ(choose("auto", kRing, false), "ring");
  EXPECT_EQ(choose("auto", {}, false, 4), "local");
  EXPECT_EQ(choose("local", {}, true, 2), "local");
  EXPECT_EQ(choose("auto", {}, true, 1), "single");
  EXPECT_EQ(choose("auto", kMpirun, true, 3), "mpi");
}

TEST(Launcher, TwoWaysToMeetAtOnceAreRefusedNamingBoth) {
  const auto refused = [](const std::string& asked, const Variables& variables, const char* one,
                          const char* other) {
    const std::string message = refusal([&] { choose(asked, variables); });
    EXPECT_NE(message.find(one), std::string::npos) << message;
    EXPECT_NE(message.find(other), std::string::npos) << message;
  };
  refused("auto", both(kHead, kRing), "MISTRALRS_MN_GLOBAL_WORLD_SIZE", "RING_CONFIG");
  refused("auto", both(kMpirun, kHead), "MISTRALRS_MN_GLOBAL_WORLD_SIZE", "mpirun");
  refused("auto", both(kMpirun, kRing), "RING_CONFIG", "mpirun");
  refused("auto", both(kSrun, kRing), "RING_CONFIG", "srun");
  refused("mpi", kRing, "--bootstrap mpi", "RING_CONFIG");
  refused("ring", kHead, "--bootstrap ring", "MISTRALRS_MN_GLOBAL_WORLD_SIZE");
  refused("ring", {}, "--bootstrap ring", "RING_CONFIG");
  refused("auto", {{"MISTRALRS_MN_WORKER_ID", "0"}, {"RING_CONFIG", "x"}}, "MISTRALRS_MN_WORKER_ID",
          "RING_CONFIG");
}

BootstrapChoice choose_with_gpus(VisibleGpus gpus, const Variables& variables,
                                 BootstrapWishes wishes = {}) {
  const Environment here = environment(variables);
  wishes.gpus = [gpus] { return gpus; };
  return choose_bootstrap(wishes, detect_launcher(here), here);
}

TEST(Launcher, ACommandAloneTakesOneRankForEachVisibleGpu) {
  const BootstrapChoice four = choose_with_gpus({.count = 4, .nccl = true}, {});
  EXPECT_EQ(four.name, "local");
  EXPECT_EQ(four.ranks, 4);
  EXPECT_EQ(four.reason, "4 visible GPUs");
  EXPECT_EQ(choose_with_gpus({.count = 1, .nccl = true}, {}).name, "single");
  EXPECT_EQ(choose_with_gpus({}, {}).name, "single");
  EXPECT_EQ(choose_with_gpus({.count = 4, .nccl = true}, {}, {.asked = "local"}).ranks, 4);
  EXPECT_EQ(choose_with_gpus({.count = 4, .nccl = true}, {}, {.tp = 2}).ranks, 2);
  EXPECT_EQ(choose_with_gpus({.count = 4, .nccl = true}, {}, {.tp = 1}).name, "single");
  // A node of several: its local size is its GPUs unless a variable says otherwise.
  EXPECT_EQ(choose_with_gpus({.count = 4, .nccl = true}, kHead).ranks, 4);
  EXPECT_EQ(choose_with_gpus({}, kHead).ranks, 1);
}

TEST(Launcher, ACommandAloneTakesNoMoreGpusThanCanShareTheModel) {
  const auto choose = [](int gpus, bool nccl, int fitting) {
    return choose_with_gpus({.count = gpus, .nccl = nccl}, {},
                            {.fitting_ranks = [=](int most) { return std::min(most, fitting); }});
  };
  EXPECT_EQ(choose(8, true, 6).name, "local");
  EXPECT_EQ(choose(8, true, 6).ranks, 6);
  EXPECT_NE(choose(8, true, 6).reason.find("6 of 8 visible GPUs"), std::string::npos);
  EXPECT_EQ(choose(2, false, 1).name, "single");
}

TEST(Launcher, ALauncherIsNotAskedForGpus) {
  const Environment here = environment(kMpirun);
  const BootstrapWishes wishes{.has_mpi = true, .gpus = []() -> VisibleGpus {
                                 ADD_FAILURE() << "ranks of MPI look for their GPUs themselves";
                                 return {};
                               }};
  EXPECT_EQ(choose_bootstrap(wishes, detect_launcher(here), here).name, "mpi");
}

TEST(Launcher, SeveralGpusWithoutNcclNeedAWord) {
  const Variables forbidden = {{"MISTRALRS_NO_NCCL", "1"}};
  const auto message = [&](bool nccl, const Variables& variables) {
    return refusal([&] { choose_with_gpus({.count = 2, .nccl = nccl}, variables); });
  };
  EXPECT_NE(message(true, forbidden).find("MISTRALRS_NO_NCCL is set"), std::string::npos);
  EXPECT_NE(message(false, {}).find("install libnccl2"), std::string::npos);
  EXPECT_EQ(choose_with_gpus({.count = 2}, forbidden, {.tp = 2}).ranks, 2);
  EXPECT_EQ(choose_with_gpus({.count = 2}, forbidden, {.mode = "tensor"}).ranks, 2);
  EXPECT_EQ(choose_with_gpus({.count = 1}, forbidden).name, "single");
}

TEST(Launcher, NodesNeedNcclAndTheRingItsAbsence) {
  const VisibleGpus gpus{.count = 2, .nccl = true};
  const std::string nodes = refusal([&] {
    choose_with_gpus(gpus, both(kHead, {{"MISTRALRS_NO_NCCL", "true"}}));
  });
  EXPECT_NE(nodes.find("MISTRALRS_MN_GLOBAL_WORLD_SIZE"), std::string::npos) << nodes;
  EXPECT_NE(nodes.find("MISTRALRS_NO_NCCL"), std::string::npos) << nodes;
  const std::string ring = refusal([&] { choose_with_gpus(gpus, kRing); });
  EXPECT_NE(ring.find("RING_CONFIG"), std::string::npos) << ring;
  EXPECT_NE(ring.find("MISTRALRS_NO_NCCL=1"), std::string::npos) << ring;
  EXPECT_EQ(choose_with_gpus(gpus, both(kRing, {{"MISTRALRS_NO_NCCL", "1"}})).name, "ring");
  EXPECT_EQ(choose_with_gpus({.count = 2}, kRing).name, "ring");
  EXPECT_EQ(choose_with_gpus({}, both(kHead, {{"MISTRALRS_NO_NCCL", "1"}})).name, "multinode");
}

}  // namespace
}  // namespace dinfer
