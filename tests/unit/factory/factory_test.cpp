#include "factory.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace dinfer {
namespace {

TEST(Factory, LocalBootstrapIsAGroupOfOneThatWorks) {
  Bootstrap alone = make_bootstrap({.bootstrap = "local", .cpu = true});
  EXPECT_EQ(alone.name, "single");
  EXPECT_EQ(alone.world.size, 1);
  EXPECT_FALSE(alone.world.host.empty());
  std::vector<float> values(5);
  std::iota(values.begin(), values.end(), 1.0f);
  const auto device = make_device(alone.world, true, {});
  const auto group = alone.make_communicator(*device, all_ranks(1));
  EXPECT_EQ(group->transport(), "none");
  group->all_reduce_sum(values);
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3, 4, 5}));
  alone.finish(Deadline::after(std::chrono::seconds(1)));
}

// On any machine and in any build: what is missing is null, with a reason where the build has it.
TEST(Factory, DescribesWhatTheBuildHasAndWhatTheMachineHas) {
  const OrderedJson build = describe_build();
  ASSERT_EQ(build.size(), 3u) << build;
  if (!build.at("mpi").is_null()) {
    EXPECT_NE(build["mpi"].get<std::string>().find('.'), std::string::npos);
  }
  const OrderedJson& cuda = build.at("cuda");
  if (cuda.is_null()) {
    EXPECT_TRUE(build.at("nccl").is_null()) << build;
    return;
  }
  EXPECT_TRUE(cuda.at("toolkit").is_string()) << build;
  const bool has_gpus = !cuda.at("gpus").empty();
  EXPECT_TRUE(has_gpus || cuda.at("note").is_string()) << build;
  EXPECT_TRUE(!has_gpus || cuda.at("driver").is_string()) << build;
  for (const OrderedJson& name : cuda.at("gpus")) EXPECT_FALSE(name.get<std::string>().empty());
}

}  // namespace
}  // namespace dinfer
