#include "bootstrap/agree.h"

#include <gtest/gtest.h>

#include "bootstrap/single_control_plane.h"

namespace dinfer {
namespace {

TEST(Agree, EqualFactsHaveNoDifferences) {
  EXPECT_EQ(describe_differences({{"a", {{"quant", "4"}}}, {"b", {{"quant", "4"}}}}), "");
}

TEST(Agree, NamesOnlyTheFactsThatDifferAndTheRanksBehindEachValue) {
  const Facts four = {{"version", "1"}, {"quant", "4"}};
  const Facts eight = {{"version", "1"}, {"quant", "8"}};
  EXPECT_EQ(
      describe_differences(
          {{"node1", four}, {"node1", four}, {"node1", four}, {"node2", eight}, {"node2", four}}),
      "  quant: 4 on ranks 0-2,4; 8 on rank 3 (node2)");
}

TEST(Agree, AFactThatSomeRanksDoNotStateIsADifference) {
  EXPECT_EQ(
      describe_differences({{"n", {{"a", "1"}, {"b", "2"}}}, {"n", {{"a", "1"}, {"c", "3"}}}}),
      "  b: 2 on rank 0; not stated on rank 1 (n)\n"
      "  c: not stated on rank 0; 3 on rank 1 (n)");
}

TEST(Agree, OneRankAlwaysAgrees) {
  const auto control = make_single_control_plane();
  EXPECT_NO_THROW(agree(*control, World{.host = "h"}, {{"path", "not UTF-8: \xff"}},
                        Deadline::after(std::chrono::seconds(1))));
}

}  // namespace
}  // namespace dinfer
