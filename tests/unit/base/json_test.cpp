#include "base/json.h"

#include <gtest/gtest.h>

namespace dinfer {
namespace {

std::string refusal(std::string_view text, const JsonLimits& limits = {}) {
  try {
    parse_json(text, "file.json", ExitCode::model_files, limits);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::model_files);
    EXPECT_TRUE(std::string(e.what()).starts_with("file.json: ")) << e.what();
    return e.what();
  }
  ADD_FAILURE() << text << " was accepted";
  return "";
}

TEST(Json, ReadsValuesAndKeepsOrderWhereAsked) {
  const OrderedJson ordered =
      parse_ordered_json(R"({"z": 1, "a": [true, null]})", "x", ExitCode::usage);
  EXPECT_EQ(ordered.dump(), R"({"z":1,"a":[true,null]})");
  EXPECT_EQ(parse_json(R"("\u00e9\ud83d\ude00")", "x", ExitCode::usage), "\u00e9\U0001F600");
}

TEST(Json, RefusesWhatIsNoJson) {
  for (const std::string_view text : {"", "{", "[1,]", "{\"a\":1}x", "nul", "'a'", "[1] [2]",
                                      "\"\xff\"", "\"\\ud800\"", "1e999"}) {
    EXPECT_FALSE(refusal(text).empty()) << text;
  }
}

TEST(Json, RefusesDuplicateKeysInOneObjectOnly) {
  EXPECT_NE(refusal(R"({"key": 1, "key": 2})").find("\"key\""), std::string::npos);
  EXPECT_NO_THROW(
      parse_json(R"({"key": {"key": 1}, "other": [{"key": 2}]})", "x", ExitCode::usage));
}

TEST(Json, HoldsItsLimits) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse_json(nested(64), "x", ExitCode::usage));
  EXPECT_NE(refusal(nested(65)).find("64 levels"), std::string::npos);
  EXPECT_NE(refusal(std::string(1'000'000, '[')).find("64 levels"), std::string::npos);
  EXPECT_NO_THROW(parse_json("[1,2]", "x", ExitCode::usage, {.values = 3}));
  EXPECT_NE(refusal("[1,2,3]", {.values = 3}).find("3 values"), std::string::npos);
}

}  // namespace
}  // namespace dinfer
