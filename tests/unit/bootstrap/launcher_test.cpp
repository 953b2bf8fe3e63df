#include "bootstrap/launcher.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"

namespace dinfer {
namespace {

using Variables = std::map<std::string, std::string>;

Environment environment(Variables variables) {
  return [variables = std::move(variables)](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

std::string choose(const std::string& asked, const Variables& variables, bool has_mpi = true) {
  const Environment here = environment(variables);
  return choose_bootstrap(asked, detect_launcher(here), here, has_mpi);
}

// The message of the Error(config) that `action` ends with.
template <class Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::config);
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return "";
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

TEST(Launcher, VariablesOfBootstrapsThatAreMissingAreNeverIgnored) {
  EXPECT_NE(refusal([] {
              choose("auto", {{"RING_CONFIG", "ring.json"}});
            }).find("RING_CONFIG"),
            std::string::npos);
  Variables under_mpi = kMpirun;
  under_mpi["MISTRALRS_MN_GLOBAL_WORLD_SIZE"] = "2";
  EXPECT_NE(refusal([&] { choose("auto", under_mpi); }).find("MISTRALRS_MN_GLOBAL_WORLD_SIZE"),
            std::string::npos);
}

}  // namespace
}  // namespace dinfer
