#include "engine/rank_figures.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace dinfer {
namespace {

TEST(RankFigures, come_back_from_their_bytes) {
  const RankFigures figures{.pid = 7,
                            .steps = 3,
                            .step_s = 1.5,
                            .collective_s = 0.5,
                            .plan_wait_s = 0.25,
                            .moved_bytes = 4096,
                            .memory_bytes = 1 << 20};
  std::vector<std::byte> message = encode(figures);
  EXPECT_EQ(decode_rank_figures(message), figures);
  message.pop_back();
  EXPECT_THROW(decode_rank_figures(message), Error);
  message.resize(message.size() + 2);
  EXPECT_THROW(decode_rank_figures(message), Error);
}

TEST(RankFigures, know_the_memory_of_the_process) {
  EXPECT_GT(process_memory(), uint64_t{1} << 20);
  EXPECT_LT(process_memory(), uint64_t{1} << 36);
}

}  // namespace
}  // namespace dinfer
