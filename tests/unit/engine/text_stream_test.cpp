#include "engine/text_stream.h"

#include <gtest/gtest.h>

namespace dinfer {
namespace {

// What a client sees of `pieces`.
std::string seen(std::vector<std::string> stops, const std::vector<std::string>& pieces) {
  StopStrings stream(std::move(stops));
  std::string text;
  for (const auto& piece : pieces) text += stream.push(piece);
  return text + stream.finish();
}

TEST(StopStrings, cut_the_text_before_the_first_match_across_pieces) {
  EXPECT_EQ(seen({"STOP"}, {"one S", "T", "OP two"}), "one ");
  EXPECT_EQ(seen({"b", "ab"}, {"xa", "b"}), "x");
  EXPECT_EQ(seen({"\n\n"}, {"a\n", "b\n", "\nc"}), "a\nb");
}

TEST(StopStrings, hand_out_what_only_looked_like_a_beginning) {
  EXPECT_EQ(seen({"STOP"}, {"a ST", "ART"}), "a START");
  EXPECT_EQ(seen({"STOP"}, {"a STO"}), "a STO");
  EXPECT_EQ(seen({"aab"}, {"a", "a", "a", "c"}), "aaac");
  EXPECT_EQ(seen({"aab"}, {"a", "a", "a", "b"}), "a");
}

TEST(StopStrings, hold_back_no_more_than_a_beginning) {
  StopStrings stream({"END"});
  EXPECT_EQ(stream.push("textE"), "text");
  EXPECT_EQ(stream.push("x"), "Ex");
  EXPECT_FALSE(stream.found());
  EXPECT_EQ(stream.push(" END more"), " ");
  EXPECT_TRUE(stream.found());
  EXPECT_EQ(stream.push("more"), "");
}

TEST(StopStrings, without_stops_everything_passes_at_once) {
  StopStrings stream({""});
  EXPECT_EQ(stream.push("abc"), "abc");
}

}  // namespace
}  // namespace dinfer
