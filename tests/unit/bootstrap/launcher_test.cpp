#include "bootstrap/launcher.h"

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

TEST(Launcher, GroupsStagesAndReplicasMultiply) {
  const auto choice = [](BootstrapWishes wishes) {
    const Environment here = environment({});
    return choose_bootstrap(wishes, detect_launcher(here), here);
  };
  EXPECT_EQ(choice({.dp = 2}).ranks, 2);
  EXPECT_EQ(choice({.tp = 2, .pp = 2, .dp = 3}).ranks, 12);
  EXPECT_EQ(choice({.tp = 2, .dp = 3}).reason, "--tp 2 --dp 3 without a launcher");
  EXPECT_EQ(choice({.dp = 1}).name, "single");
  EXPECT_THROW(choice({.tp = 65536, .pp = 65536, .dp = 65536}), Error);
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

TEST(Launcher, ALauncherIsNotAskedForGpus) {
  const Environment here = environment(kMpirun);
  const BootstrapWishes wishes{.has_mpi = true, .gpus = []() -> VisibleGpus {
                                 ADD_FAILURE() << "ranks of MPI look for their GPUs themselves";
                                 return {};
                               }};
  EXPECT_EQ(choose_bootstrap(wishes, detect_launcher(here), here).name, "mpi");
}

TEST(Launcher, SeveralGpusWithoutNcclOwnLayersEach) {
  const Variables forbidden = {{"MISTRALRS_NO_NCCL", "1"}};
  const BootstrapChoice set = choose_with_gpus({.count = 3, .nccl = true}, forbidden);
  EXPECT_EQ(set.name, "local");
  EXPECT_EQ(set.ranks, 3);
  EXPECT_EQ(set.sharing, Sharing::layers);
  EXPECT_EQ(set.reason, "3 visible GPUs, MISTRALRS_NO_NCCL is set");
  EXPECT_EQ(choose_with_gpus({.count = 2}, {}).reason, "2 visible GPUs, no NCCL");
  const auto sharing = [](const VisibleGpus& gpus, const Variables& variables,
                          BootstrapWishes wishes) {
    return choose_with_gpus(gpus, variables, std::move(wishes)).sharing;
  };
  EXPECT_EQ(sharing({.count = 2, .nccl = true}, {}, {.mode = "layers"}), Sharing::layers);
  EXPECT_EQ(sharing({.count = 2}, forbidden, {.tp = 2}), Sharing::tensors);
  EXPECT_EQ(sharing({.count = 2}, forbidden, {.mode = "tensor"}), Sharing::tensors);
  EXPECT_EQ(choose_with_gpus({.count = 1}, forbidden).name, "single");
}

TEST(Launcher, TheCpuHelpsGpusThatAreTooSmallForTheModel) {
  const auto choose = [](const VisibleGpus& gpus, BootstrapWishes wishes) {
    wishes.too_large = [](const VisibleGpus& visible) { return visible.memory.at(0) < 100; };
    return choose_with_gpus(gpus, {}, std::move(wishes));
  };
  const VisibleGpus one{.count = 1, .nccl = true, .memory = {80}};
  const VisibleGpus two{.count = 2, .nccl = true, .memory = {80, 80}};
  EXPECT_EQ(choose(one, {}).ranks, 2);
  EXPECT_EQ(choose(one, {}).sharing, Sharing::layers_with_cpu);
  EXPECT_EQ(choose(one, {}).reason, "1 visible GPU, too small for the model without the CPU");
  EXPECT_EQ(choose({.count = 1, .memory = {100}}, {}).name, "single");
  EXPECT_EQ(choose(two, {.mode = "layers"}).ranks, 3);
  EXPECT_EQ(choose({.count = 2, .memory = {80, 80}}, {}).ranks, 3) << "no NCCL";
  EXPECT_EQ(choose(two, {}).sharing, Sharing::tensors) << "not asked to share out layers";
  EXPECT_EQ(choose(one, {.mode = "tensor"}).name, "single");
  EXPECT_EQ(choose(one, {.tp = 1}).name, "single");
  EXPECT_EQ(choose(two, {.mode = "layers", .pp = 2}).ranks, 2);
}

TEST(Launcher, StagesTakeRanksToo) {
  EXPECT_EQ(choose_with_gpus({.count = 4, .nccl = true}, {}, {.pp = 2}).ranks, 2);
  const BootstrapChoice both = choose_with_gpus({}, {}, {.tp = 2, .pp = 3});
  EXPECT_EQ(both.ranks, 6);
  EXPECT_EQ(both.reason, "--tp 2 --pp 3 without a launcher");
  EXPECT_EQ(choose_with_gpus({.count = 4, .nccl = true}, {}, {.pp = 1}).name, "single");
}

TEST(Launcher, AManualMappingTakesOneRankForEachOfItsDevices) {
  const auto choose = [](int gpus, MappedDevices mapped) {
    return choose_with_gpus({.count = gpus, .nccl = true}, {}, {.mapped = [=] { return mapped; }});
  };
  const BootstrapChoice two = choose(4, {.ranks = 2, .highest_gpu = 3, .source = "-n"});
  EXPECT_EQ(two.name, "local");
  EXPECT_EQ(two.ranks, 2);
  EXPECT_EQ(two.reason, "no launcher");
  EXPECT_EQ(choose(0, {.ranks = 3, .highest_gpu = 2, .source = "-n"}).ranks, 3) << "CPU ranks";
  EXPECT_EQ(choose(4, {.ranks = 1, .highest_gpu = 1, .source = "-n"}).name, "single");
  const std::string message =
      refusal([&] { choose(2, {.ranks = 2, .highest_gpu = 2, .source = "a.yaml"}); });
  EXPECT_NE(message.find("a.yaml names GPU 2, and 2 are visible: 0 to 1"), std::string::npos)
      << message;
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
