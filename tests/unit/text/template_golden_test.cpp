// The chat templates of the reference models: their texts as transformers rendered them.
#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "text/chat_template.h"

namespace dinfer {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

OrderedJson read_json(const fs::path& path) {
  return parse_ordered_json(read(path), path.string(), ExitCode::model_files);
}

std::string template_of(const fs::path& model, const OrderedJson& config) {
  const fs::path file = model / "chat_template.jinja";
  return fs::exists(file) ? read(file) : config.at("chat_template").get<std::string>();
}

// "2025-03-09T14:05:07" as seconds since 1970, in local time.
int64_t seconds(const std::string& time) {
  tm local{};
  strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S", &local);
  local.tm_isdst = -1;
  return mktime(&local);
}

std::vector<std::pair<std::string, std::string>> special_texts(const OrderedJson& config) {
  std::vector<std::pair<std::string, std::string>> texts;
  for (const auto& [name, value] : config.items()) {
    if (!name.ends_with("_token")) continue;
    const OrderedJson& text = value.is_object() ? value.at("content") : value;
    if (text.is_string()) texts.emplace_back(name, text.get<std::string>());
  }
  return texts;
}

ChatTemplate::Input input_of(const OrderedJson& chat, const OrderedJson& config) {
  ChatTemplate::Input input;
  input.messages = chat.at("messages");
  input.add_generation_prompt = chat.at("add_generation_prompt").get<bool>();
  input.kwargs = chat.at("kwargs");
  input.special_texts = special_texts(config);
  input.now = seconds(chat.at("now").get<std::string>());
  return input;
}

TEST(TemplateGolden, RendersTheChatsOfAllReferenceModels) {
  int texts = 0, errors = 0;
  for (const auto& entry :
       fs::directory_iterator(fs::path(DINFER_SOURCE_DIR) / "tests/golden/models/hf")) {
    const fs::path& model = entry.path();
    if (!fs::exists(model / "tokenizer_config.json")) continue;
    const OrderedJson config = read_json(model / "tokenizer_config.json");
    const ChatTemplate chat_template(template_of(model, config));
    for (const OrderedJson& chat : read_json(model / "golden.json").at("chat")) {
      SCOPED_TRACE(model.filename().string() + " " + chat.at("name").get<std::string>());
      const ChatTemplate::Input input = input_of(chat, config);
      if (chat.contains("text")) {
        EXPECT_EQ(chat_template.render(input).text, chat.at("text").get<std::string>());
        ++texts;
        continue;
      }
      try {
        chat_template.render(input);
        ADD_FAILURE() << "rendered, but should raise";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::usage);
        EXPECT_NE(std::string(error.what()).find(chat.at("error").get<std::string>()),
                  std::string::npos)
            << error.what();
        ++errors;
      }
    }
  }
  EXPECT_GE(texts, 100);
  EXPECT_GE(errors, 8);
}

}  // namespace
}  // namespace dinfer
