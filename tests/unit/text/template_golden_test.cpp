// The chat templates of the reference models: their texts as transformers rendered them.
#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "checkpoint/gguf.h"
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

// "2025-03-09T14:05:07" as seconds since 1970, in local time.
int64_t seconds(const std::string& time) {
  tm local{};
  strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S", &local);
  local.tm_isdst = -1;
  return mktime(&local);
}

// What a chat needs of its model.
struct Model {
  std::string source;
  std::vector<std::pair<std::string, std::string>> special_texts;
};

Model huggingface_model(const fs::path& folder) {
  const OrderedJson config = read_json(folder / "tokenizer_config.json");
  const fs::path file = folder / "chat_template.jinja";
  Model model;
  model.source = fs::exists(file) ? read(file) : config.at("chat_template").get<std::string>();
  for (const auto& [name, value] : config.items()) {
    if (!name.ends_with("_token")) continue;
    const OrderedJson& text = value.is_object() ? value.at("content") : value;
    if (text.is_string()) model.special_texts.emplace_back(name, text.get<std::string>());
  }
  return model;
}

Model gguf_model(const fs::path& folder) {
  const OrderedJson golden = read_json(folder / "golden.json");
  const auto file = golden.at("forms").at(0).at("file").get<std::string>();
  const GgufMetadata metadata = GgufMetadata::read(folder / fs::path(file).filename());
  Model model{metadata.get_string("tokenizer.chat_template"), {}};
  const auto& tokens = metadata.get_strings("tokenizer.ggml.tokens");
  for (const std::string name : {"bos", "eos", "unknown", "padding"}) {
    const auto id = metadata.find_int("tokenizer.ggml." + name + "_token_id");
    if (!id) continue;
    model.special_texts.emplace_back((name == "unknown"   ? "unk"
                                      : name == "padding" ? "pad"
                                                          : name) +
                                         "_token",
                                     tokens.at(static_cast<size_t>(*id)));
  }
  return model;
}

struct Count {
  int texts = 0, errors = 0;
};

void expect_error(const ChatTemplate& chat_template, const ChatTemplate::Input& input,
                  const std::string& message) {
  try {
    chat_template.render(input);
    ADD_FAILURE() << "rendered, but should raise " << message;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
  }
}

Count expect_chats(const fs::path& folder, const Model& model) {
  const OrderedJson golden = read_json(folder / "golden.json");
  const ChatTemplate chat_template(model.source);
  Count count;
  for (const OrderedJson& chat : golden.at("chat")) {
    SCOPED_TRACE(folder.filename().string() + " " + chat.at("name").get<std::string>());
    ChatTemplate::Input input;
    input.messages = chat.at("messages");
    input.add_generation_prompt = chat.at("add_generation_prompt").get<bool>();
    input.kwargs = chat.at("kwargs");
    input.special_texts = model.special_texts;
    input.now = seconds(chat.at("now").get<std::string>());
    if (chat.contains("text")) {
      EXPECT_EQ(chat_template.render(input).text, chat.at("text").get<std::string>());
      ++count.texts;
    } else {
      expect_error(chat_template, input, chat.at("error").get<std::string>());
      ++count.errors;
    }
  }
  return count;
}

Count expect_all_chats(const char* form, Model (*load)(const fs::path&)) {
  Count all;
  const fs::path folder = fs::path(DINFER_SOURCE_DIR) / "tests/golden/models" / form;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const Count count = expect_chats(entry.path(), load(entry.path()));
    all.texts += count.texts;
    all.errors += count.errors;
  }
  return all;
}

TEST(TemplateGolden, RendersTheChatsOfAllHuggingFaceModels) {
  const Count count = expect_all_chats("hf", huggingface_model);
  EXPECT_GE(count.texts, 120);
  EXPECT_GE(count.errors, 8);
}

TEST(TemplateGolden, RendersTheChatsOfAllGgufModels) {
  const Count count = expect_all_chats("gguf", gguf_model);
  EXPECT_GE(count.texts, 80);
  EXPECT_GE(count.errors, 8);
}

}  // namespace
}  // namespace dinfer
