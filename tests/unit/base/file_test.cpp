#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/error.h"
#include "tests/support/temporary_directory.h"

namespace dinfer {
namespace {

class FileTest : public testing::Test {
 protected:
  // The message of the error, which must name the file.
  template <class Action>
  std::string refusal(const std::filesystem::path& path, Action action) {
    try {
      action();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::model_files);
      EXPECT_NE(std::string(e.what()).find(path.string()), std::string::npos) << e.what();
      return e.what();
    }
    ADD_FAILURE() << path << " was read";
    return "";
  }

  const test::TemporaryDirectory folder_;
};

TEST_F(FileTest, ReadsRanges) {
  const File file(folder_.write("digits", "0123456789"));
  EXPECT_EQ(file.size(), 10u);
  std::string out(4, ' ');
  file.read(6, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(out, "6789");
  file.read(10, {});
}

TEST_F(FileTest, RefusesRangesOutsideTheFile) {
  const auto path = folder_.write("digits", "0123456789");
  const File file(path);
  std::string out(4, ' ');
  for (const uint64_t offset : {uint64_t{7}, uint64_t{11}, UINT64_MAX, UINT64_MAX - 3}) {
    refusal(path, [&] { file.read(offset, std::as_writable_bytes(std::span(out))); });
  }
}

TEST_F(FileTest, NoticesAFileThatShrinks) {
  const auto path = folder_.write("digits", "0123456789");
  const File file(path);
  std::filesystem::resize_file(path, 3);
  std::string out(10, ' ');
  const auto read = [&] { file.read(0, std::as_writable_bytes(std::span(out))); };
  EXPECT_NE(refusal(path, read).find("byte 3"), std::string::npos);
}

TEST_F(FileTest, RefusesWhatIsNoRegularFileWithoutWaiting) {
  refusal(folder_.path() / "absent", [&] { File(folder_.path() / "absent"); });
  refusal(folder_.path(), [&] { File{folder_.path()}; });
  const auto pipe = folder_.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  refusal(pipe, [&] { File{pipe}; });
}

TEST_F(FileTest, KnowsWhatGitLeavesInPlaceOfALargeFile) {
  const auto path = folder_.write("model.safetensors",
                                  "version https://git-lfs.github.com/spec/v1\noid sha256:0a\n");
  EXPECT_NE(refusal(path, [&] { File file(path); }).find("git lfs pull"), std::string::npos);
}

TEST_F(FileTest, ReadsTextUpToTheLimit) {
  const auto path = folder_.write("text", "four");
  EXPECT_EQ(read_text_file(path, 4), "four");
  EXPECT_NE(refusal(path, [&] { read_text_file(path, 3); }).find("4 bytes"), std::string::npos);
}

TEST_F(FileTest, SaysWhatIsInTheWayOfWriting) {
  EXPECT_EQ(write_obstacle(folder_.path() / "new"), "");
  EXPECT_FALSE(is_present(folder_.path() / "new"));
  EXPECT_EQ(write_obstacle(folder_.write("old", "x")), "");
  EXPECT_EQ(write_obstacle("here"), "");
  EXPECT_EQ(write_obstacle(folder_.path()), "Is a directory");
  EXPECT_EQ(write_obstacle(folder_.path() / "absent" / "new"), "No such file or directory");
  EXPECT_EQ(write_obstacle(folder_.path() / "old" / "new"), "Not a directory");
}

}  // namespace
}  // namespace dinfer
