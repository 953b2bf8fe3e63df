// llama.cpp's own tokenizer suite: vocabularies with texts (.inp) and their ids (.out), from the
// folder that DINFER_PEER_MODELS names (vendor/llama.cpp/models of llama-cpp-python's sdist).

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "text/load_text.h"

namespace dinfer {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";

// A separator stands behind every text, in some files not behind the last.
std::vector<std::string> read_texts(const fs::path& path) {
  const std::string all = read_text_file(path, 1 << 20);
  std::vector<std::string> texts;
  size_t begin = 0;
  for (size_t end = 0; (end = all.find(kSeparator, begin)) != std::string::npos;) {
    texts.push_back(all.substr(begin, end - begin));
    begin = end + kSeparator.size();
  }
  if (begin < all.size()) texts.push_back(all.substr(begin));
  return texts;
}

std::vector<std::vector<int32_t>> read_ids(const fs::path& path) {
  std::istringstream lines(read_text_file(path, 1 << 20));
  std::vector<std::vector<int32_t>> all;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream numbers(line);
    std::vector<int32_t>& ids = all.emplace_back();
    for (int32_t id = 0; numbers >> id;) ids.push_back(id);
  }
  return all;
}

void expect_vocabulary(const fs::path& model) {
  const auto texts = read_texts(model.string() + ".inp");
  auto expected = read_ids(model.string() + ".out");
  ASSERT_EQ(texts.size(), expected.size()) << model;
  const auto tokenizer = load_tokenizer({model, true}, "");
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(tokenizer->encode(texts[i], {.add_special = false}), expected[i])
        << model.filename() << ", case " << i << ": " << testing::PrintToString(texts[i]);
  }
}

TEST(PeerVocabularies, Agree) {
  const char* folder = std::getenv("DINFER_PEER_MODELS");
  if (folder == nullptr) {
    GTEST_SKIP() << "DINFER_PEER_MODELS does not name llama.cpp's folder of models";
  }
  int compared = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path path = entry.path();
    if (path.extension() != ".gguf" || !fs::exists(path.string() + ".out")) continue;
    if (path.stem() == "ggml-vocab-bert-bge") continue;  // WordPiece: see the next test
    expect_vocabulary(path);
    ++compared;
  }
  EXPECT_EQ(compared, 14);
}

TEST(PeerVocabularies, OtherKindsAreRefusedByName) {
  const char* folder = std::getenv("DINFER_PEER_MODELS");
  if (folder == nullptr) {
    GTEST_SKIP() << "DINFER_PEER_MODELS does not name llama.cpp's folder of models";
  }
  for (const auto& [file, kind] : {std::pair{"ggml-vocab-bert-bge.gguf", "\"bert\""},
                                   std::pair{"ggml-vocab-nomic-bert-moe.gguf", "\"t5\""}}) {
    try {
      load_tokenizer({fs::path(folder) / file, true}, "");
      ADD_FAILURE() << file << " was loaded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::model_files);
      EXPECT_NE(std::string(error.what()).find(kind), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace dinfer
