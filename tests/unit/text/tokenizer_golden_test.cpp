// The tokenizer cases of the reference models: what the `tokenizers` library makes of them.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "text/load_text.h"
#include "text/utf8.h"

namespace dinfer {
namespace {

namespace fs = std::filesystem;

const fs::path kModels = fs::path(DINFER_SOURCE_DIR) / "tests/golden/models";

Json read_cases(const fs::path& golden) {
  return parse_json(read_text_file(golden, 256 << 20), golden.string(), ExitCode::model_files)
      .at("tokenizer");
}

std::string decode_valid(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip) {
  return to_valid_utf8(tokenizer.decode(ids, skip));
}

std::string decode_streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                            bool skip) {
  StreamDecoder decoder(tokenizer, skip);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

void expect_case(const Tokenizer& tokenizer, const Json& golden) {
  const auto text = golden.at("text").get<std::string>();
  SCOPED_TRACE("text " + golden.at("text").dump());
  const auto ids = golden.at("ids").get<std::vector<int32_t>>();
  const auto ids_special = golden.at("ids_special").get<std::vector<int32_t>>();
  const auto ids_plain = golden.value("ids_plain", ids);

  EXPECT_EQ(tokenizer.encode(text, {.add_special = false, .parse_special = true}), ids);
  EXPECT_EQ(tokenizer.encode(text, {.add_special = true, .parse_special = true}), ids_special);
  EXPECT_EQ(tokenizer.encode(text, {.add_special = false}), ids_plain);
  const TextSpan whole{0, text.size()};
  EXPECT_EQ(
      tokenizer.encode(text, {.add_special = false, .parse_special = true, .plain = {&whole, 1}}),
      ids_plain);

  EXPECT_EQ(decode_valid(tokenizer, ids, false), golden.at("decoded").get<std::string>());
  EXPECT_EQ(decode_valid(tokenizer, ids, true), golden.at("decoded_skip").get<std::string>());
  EXPECT_EQ(decode_valid(tokenizer, ids_special, false),
            golden.at("decoded_special").get<std::string>());
  EXPECT_EQ(decode_streamed(tokenizer, ids, false), golden.at("decoded").get<std::string>());
  EXPECT_EQ(decode_streamed(tokenizer, ids, true), golden.at("decoded_skip").get<std::string>());
}

void expect_cases(const ModelFiles& files, const fs::path& golden) {
  const auto tokenizer = load_tokenizer(files, "");
  const Json cases = read_cases(golden);
  ASSERT_GE(cases.size(), 40u);
  for (const Json& one : cases) expect_case(*tokenizer, one);
}

std::vector<std::string> folders_in(const fs::path& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (fs::exists(entry.path() / "golden.json")) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class TokenizerJsonGolden : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerJsonGolden, Agrees) {
  const fs::path folder = kModels / "hf" / GetParam();
  expect_cases({folder, false}, folder / "golden.json");
}

INSTANTIATE_TEST_SUITE_P(Models, TokenizerJsonGolden, testing::ValuesIn(folders_in(kModels / "hf")),
                         test_name);

class GgufTokenizerGolden : public testing::TestWithParam<std::string> {};

TEST_P(GgufTokenizerGolden, Agrees) {
  const fs::path folder = kModels / "gguf" / GetParam();
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".gguf") files.push_back(entry.path());
  }
  ASSERT_FALSE(files.empty());
  expect_cases({*std::min_element(files.begin(), files.end()), true}, folder / "golden.json");
}

INSTANTIATE_TEST_SUITE_P(Models, GgufTokenizerGolden,
                         testing::ValuesIn(folders_in(kModels / "gguf")), test_name);

TEST(GgufTokenizerGolden, RealModelAgrees) {
  const char* path = std::getenv("DINFER_DEMO_MODEL");
  if (path == nullptr) GTEST_SKIP() << "DINFER_DEMO_MODEL does not name the demonstration model";
  expect_cases({path, true}, kModels / "real" / "golden.json");
}

}  // namespace
}  // namespace dinfer
