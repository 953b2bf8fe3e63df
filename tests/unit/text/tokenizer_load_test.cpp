#include "text/load_text.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/temporary_directory.h"
#include "tokenizer_small.h"

namespace dinfer {
namespace {

namespace fs = std::filesystem;

class LoadText : public testing::Test {
 protected:
  ModelFiles files() const { return {folder_.path(), false}; }

  const test::TemporaryDirectory folder_;
};

TEST_F(LoadText, ReadsWhatTheConfigSaysOfSpecialTokens) {
  folder_.write("tokenizer.json", small_tokenizer().dump());
  folder_.write("tokenizer_config.json",
                R"({"bos_token": {"content": "<|a|>", "lstrip": false}, "eos_token": "<|b|>",
            "pad_token": null, "add_bos_token": true})");
  folder_.write("special_tokens_map.json", R"({"eos_token": "<|a|>", "pad_token": "<|b|>"})");
  folder_.write("generation_config.json", R"({"eos_token_id": [258, 260]})");
  const auto tokenizer = load_tokenizer(files(), "");
  const std::vector<std::pair<std::string, std::string>> texts = {
      {"bos_token", "<|a|>"}, {"eos_token", "<|b|>"}, {"pad_token", "<|b|>"}};
  EXPECT_EQ(tokenizer->special_texts(), texts);
  EXPECT_EQ(tokenizer->bos(), 258);
  EXPECT_EQ(tokenizer->eos(), (std::vector<int32_t>{258, 260, 259}));
  EXPECT_EQ(tokenizer->encode("x", {}), (std::vector<int32_t>{258, 'x'}));
}

TEST_F(LoadText, TokenizerMayComeFromAnotherFile) {
  folder_.write("other/tokenizer.json", small_tokenizer().dump());
  const fs::path other = folder_.path() / "other";
  EXPECT_EQ(load_tokenizer(files(), (other / "tokenizer.json").string())->vocab_size(), 261);
  EXPECT_EQ(load_tokenizer(files(), other.string())->vocab_size(), 261);
  try {
    load_tokenizer(files(), "");
    ADD_FAILURE() << "a folder without tokenizer.json was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::model_files);
    EXPECT_NE(std::string(error.what()).find("tokenizer.json"), std::string::npos);
  }
}

TEST_F(LoadText, FilesThatCannotBeOpenedAreNamed) {
  folder_.write("tokenizer.json", small_tokenizer().dump());
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "generation_config.json", "chat_template.jinja"}) {
    for (const char* target : {name, "nowhere"}) {  // a loop, a link that leads nowhere
      const fs::path aside = folder_.path() / "aside";
      if (fs::exists(folder_.path() / name)) fs::rename(folder_.path() / name, aside);
      fs::create_symlink(target, folder_.path() / name);
      try {
        load_tokenizer(files(), "");
        load_chat_template(files(), "", false);
        ADD_FAILURE() << name << " -> " << target << " was read";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::model_files);
        EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
      }
      fs::remove(folder_.path() / name);
      if (fs::exists(aside)) fs::rename(aside, folder_.path() / name);
    }
  }
}

TEST_F(LoadText, TemplateSourcesInTheirOrder) {
  EXPECT_EQ(load_chat_template(files(), "", false), "");
  folder_.write("tokenizer_config.json", R"({"chat_template": "one"})");
  EXPECT_EQ(load_chat_template(files(), "", true), "one");
  folder_.write("tokenizer_config.json",
                R"({"chat_template": [{"name": "tool_use", "template": "tools"},
                              {"name": "default", "template": "plain"}]})");
  EXPECT_EQ(load_chat_template(files(), "", false), "plain");
  EXPECT_EQ(load_chat_template(files(), "", true), "tools");
  folder_.write("chat_template.jinja", "file");
  EXPECT_EQ(load_chat_template(files(), "", true), "file");
  folder_.write("mine.jinja", "mine");
  EXPECT_EQ(load_chat_template(files(), (folder_.path() / "mine.jinja").string(), false), "mine");
}

TEST_F(LoadText, GgufHoldsTemplateAndTokenizer) {
  const fs::path gguf =
      fs::path(DINFER_SOURCE_DIR) / "tests/golden/models/gguf/llama-4h/llama-4h-F16.gguf";
  EXPECT_TRUE(load_chat_template({gguf, true}, "", false).starts_with("{{- bos_token }}"));
  const auto tokenizer = load_tokenizer(files(), gguf.string());
  EXPECT_EQ(tokenizer->bos(), 506);
  EXPECT_EQ(tokenizer->eos(), (std::vector<int32_t>{510, 507}));
}

}  // namespace
}  // namespace dinfer
