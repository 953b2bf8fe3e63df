#include "server/reasoning.h"

#include <gtest/gtest.h>

namespace dinfer {
namespace {

ReasoningReader::Piece read(bool thinking, std::string_view text, size_t step) {
  ReasoningReader reader(thinking);
  ReasoningReader::Piece all;
  const auto add = [&](const ReasoningReader::Piece& piece) {
    all.reasoning += piece.reasoning;
    all.text += piece.text;
  };
  for (size_t at = 0; at < text.size(); at += step) add(reader.push(text.substr(at, step)));
  add(reader.finish());
  return all;
}

TEST(ReasoningReader, ThoughtsAndAnswerComeApartWhereverTheyAreCut) {
  for (const size_t step : {1u, 2u, 5u, 100u}) {
    const auto both = read(false, "<think>\nHm <b> </th\n</think>\n\nFour </think>", step);
    EXPECT_EQ(both.reasoning, "\nHm <b> </th\n");
    EXPECT_EQ(both.text, "Four </think>");
    EXPECT_EQ(read(true, "Hm</think> Four", step).reasoning, "Hm");
    EXPECT_EQ(read(true, "Hm</think> Four", step).text, "Four");
    EXPECT_EQ(read(true, "Hm </thi", step).reasoning, "Hm </thi");
    EXPECT_EQ(read(false, "Four <think>", step).text, "Four <think>");
    EXPECT_EQ(read(false, " \n<thinly", step).text, " \n<thinly");
    EXPECT_EQ(read(false, "\n<think>", step).text, "");
    EXPECT_EQ(read(false, "<think></think>", step).text, "");
  }
}

TEST(Reasoning, TemplatesAndPromptsTell) {
  EXPECT_TRUE(shows_reasoning("{{ '<think>' }}"));
  EXPECT_FALSE(shows_reasoning("{{ messages }}"));
  EXPECT_TRUE(opens_reasoning("<|im_start|>assistant\n<think>\n"));
  EXPECT_FALSE(opens_reasoning("<think>\n\n</think>\n\n"));
  EXPECT_FALSE(opens_reasoning(""));
}

}  // namespace
}  // namespace dinfer
