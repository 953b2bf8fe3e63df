#include "engine/step_result.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace dinfer {
namespace {

StepResult full_result() {
  StepResult result{.digest = 0x0123456789abcdef};
  result.work.resize(3);
  result.work[1].token = 17;
  result.work[1].rows.resize(2);
  result.work[1].rows[0].logits = {1.5f, -2.0f, 3.25f};
  result.work[1].rows[1].token = 17;
  result.work[1].rows[1].logprob = -0.75f;
  result.work[1].rows[1].top = {{17, -0.75f}, {3, -1.5f}};
  result.work[2].rows.resize(1);
  return result;
}

TEST(StepResult, comes_back_from_its_bytes) {
  EXPECT_EQ(decode_step_result(encode(full_result())), full_result());
  EXPECT_EQ(decode_step_result(encode(StepResult{})), StepResult{});
}

TEST(StepResult, every_message_of_another_length_is_refused) {
  const auto message = encode(full_result());
  const auto code_of = [](std::span<const std::byte> bytes) {
    try {
      decode_step_result(bytes);
    } catch (const Error& error) {
      return error.code();
    }
    return ExitCode::ok;
  };
  for (size_t length = 0; length < message.size(); ++length)
    EXPECT_EQ(code_of(std::span(message).first(length)), ExitCode::peer) << length;
  auto longer = message;
  longer.push_back(std::byte{0});
  EXPECT_EQ(code_of(longer), ExitCode::peer);
}

}  // namespace
}  // namespace dinfer
