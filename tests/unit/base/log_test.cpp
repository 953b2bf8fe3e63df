#include "base/log.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "tests/support/temporary_directory.h"

namespace dinfer {
namespace {

class LogTest : public testing::Test {
 protected:
  void TearDown() override { configure_log({}, 0, 1); }

  std::string file_of_rank(int rank) const {
    std::stringstream text;
    text << std::ifstream(folder_.path() / fmt::format("rank-{}.log", rank)).rdbuf();
    return text.str();
  }

  const test::TemporaryDirectory folder_;
};

TEST_F(LogTest, EachRankHasItsFileAndItsTag) {
  configure_log({.directory = folder_.path()}, 2, 4);
  log::info("loaded");
  EXPECT_NE(file_of_rank(2).find("[rank 2] loaded"), std::string::npos) << file_of_rank(2);
}

TEST_F(LogTest, LevelLeavesOutWhatIsBelow) {
  configure_log({.level = "warning", .directory = folder_.path()}, 0, 1);
  log::info("quiet");
  log::warn("loud");
  log::flush();
  EXPECT_EQ(file_of_rank(0).find("quiet"), std::string::npos);
  EXPECT_NE(file_of_rank(0).find("loud"), std::string::npos);
}

TEST_F(LogTest, JsonLinesAreJsonWhateverTheMessage) {
  configure_log({.format = "json", .directory = folder_.path()}, 1, 2);
  log::info("a \"quoted\" path C:\\x\nand a second line");
  const std::string text = file_of_rank(1);
  ASSERT_FALSE(text.empty());
  const Json line = parse_json(text, "log", ExitCode::bug);
  EXPECT_EQ(line["rank"], 1);
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["message"], "a \"quoted\" path C:\\x\nand a second line");
}

TEST_F(LogTest, RefusesAnUnknownLevel) {
  EXPECT_THROW(configure_log({.level = "loud"}, 0, 1), Error);
}

TEST_F(LogTest, RefusesAFolderThatCannotBeMade) {
  folder_.write("file", "x");
  try {
    configure_log({.directory = folder_.path() / "file" / "logs"}, 0, 1);
    FAIL() << "was accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::config);
    EXPECT_NE(std::string(e.what()).find("--log-dir"), std::string::npos);
  }
}

}  // namespace
}  // namespace dinfer
