#include "engine/step_plan.h"

#include <gtest/gtest.h>

namespace dinfer {
namespace {

constexpr PlanLimits kLimits{.slots = 4, .blocks = 100, .vocab = 1000, .rows = 16};

StepPlan full_plan() {
  StepPlan plan{.step = 7};
  plan.releases = {1, 3};
  Admission admission{.slot = 1,
                      .sequence = 42,
                      .prompt_tokens = 5,
                      .length_limit = 50,
                      .cached = 2,
                      .cached_ids = {7, 8}};
  admission.sampling = {.temperature = 0.7f,
                        .top_k = 40,
                        .top_p = 0.9f,
                        .min_p = 0.05f,
                        .repetition_penalty = 1.1f,
                        .presence_penalty = 0.5f,
                        .frequency_penalty = -0.25f,
                        .bias = {{5, -1.5f}, {999, 100}},
                        .banned = {1, 2},
                        .banned_before = 77,
                        .seed = 0x0123456789abcdef,
                        .stream = 9};
  admission.report = {.logprobs = true, .top = 3, .logits = true};
  plan.admissions = {admission};
  plan.work = {{.slot = 0,
                .position = 17,
                .tokens = {998},
                .blocks = {8},
                .rows = LogitRows::last,
                .sample = true,
                .allowed = {5, 1}},
               {.slot = 1,
                .position = 0,
                .tokens = {5, 6, 999},
                .blocks = {0, 99},
                .rows = LogitRows::all,
                .next_token = 11}};
  return plan;
}

ExitCode code_of(std::span<const std::byte> message) {
  try {
    decode_step_plan(message, kLimits);
  } catch (const Error& error) {
    return error.code();
  }
  return ExitCode::ok;
}

TEST(StepPlan, rows_and_slots_are_those_of_each_replica) {
  PlanLimits two = kLimits;
  two.replicas = 2;
  StepPlan plan{.step = 1};
  plan.work = {{.slot = 3, .tokens = std::vector<int32_t>(16, 1)},
               {.slot = 7, .tokens = std::vector<int32_t>(16, 1)}};
  EXPECT_EQ(decode_step_plan(encode(plan), two), plan);
  EXPECT_THROW(decode_step_plan(encode(plan), kLimits), Error);
  plan.work[1].slot = 2;
  EXPECT_THROW(decode_step_plan(encode(plan), two), Error) << "32 rows for one replica";
  plan.work[1].slot = 8;
  EXPECT_THROW(decode_step_plan(encode(plan), two), Error);
}

TEST(StepPlan, comes_back_from_its_bytes) {
  EXPECT_EQ(decode_step_plan(encode(full_plan()), kLimits), full_plan());
  EXPECT_EQ(decode_step_plan(encode(StepPlan{.step = 1, .stop = 130}), kLimits),
            (StepPlan{.step = 1, .stop = 130}));
  EXPECT_EQ(decode_step_plan(encode(StepPlan{.step = 2, .report = true}), kLimits),
            (StepPlan{.step = 2, .report = true}));
}

TEST(StepPlan, every_shortened_message_is_refused) {
  const auto message = encode(full_plan());
  for (size_t length = 0; length < message.size(); ++length) {
    EXPECT_EQ(code_of(std::span(message).first(length)), ExitCode::peer) << length;
  }
}

TEST(StepPlan, bytes_behind_its_end_are_refused) {
  auto message = encode(full_plan());
  message.push_back(std::byte{0});
  EXPECT_EQ(code_of(message), ExitCode::peer);
}

TEST(StepPlan, any_changed_byte_is_decoded_within_the_limits_or_refused) {
  const auto message = encode(full_plan());
  for (size_t i = 0; i < message.size(); ++i) {
    auto broken = message;
    broken[i] ^= std::byte{0xff};
    try {
      const StepPlan plan = decode_step_plan(broken, kLimits);
      for (const SlotWork& work : plan.work) EXPECT_LT(work.slot, kLimits.slots);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::peer);
    }
  }
}

TEST(StepPlan, what_the_limits_exclude_is_refused) {
  const auto refused = [](auto change) {
    StepPlan plan = full_plan();
    change(plan);
    return code_of(encode(plan)) == ExitCode::peer;
  };
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[0].slot = 4; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[0].position = -1; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[0].blocks = {100}; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[0].blocks = {-1}; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[0].rows = LogitRows::none; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[0].allowed = TokenMask(17, 1); }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[0].allowed = {0, 0}; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[1].allowed = {1}; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[1].tokens = {1000}; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[1].tokens.assign(16, 1); }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[1].tokens.clear(); }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.work[1].next_token = 1000; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.admissions[0].cached = -1; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.admissions[0].cached = 3; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.admissions[0].cached_ids = {7, 1000}; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.releases = {4}; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.stop = 0, p.report = true; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.admissions[0].slot = 4; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.admissions[0].report.top = 1001; }));
}

}  // namespace
}  // namespace dinfer
