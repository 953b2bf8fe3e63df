#include "text/load_text.h"

#include <optional>

#include "base/file.h"
#include "checkpoint/gguf.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"

namespace dinfer {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kTokenizerBytes = uint64_t{256} << 20;
constexpr uint64_t kConfigBytes = uint64_t{64} << 20;
constexpr uint64_t kTemplateBytes = uint64_t{4} << 20;

std::optional<Json> read_json_if_there(const fs::path& path) {
  if (!is_present(path)) return std::nullopt;
  return parse_json(read_text_file(path, kConfigBytes), path.string(), ExitCode::model_files);
}

// Ids under "eos_token_id": one, a list, or none.
void read_eos(const fs::path& path, std::vector<int32_t>& eos) {
  const auto json = read_json_if_there(path);
  if (!json) return;
  const auto part = JsonPart(*json, path.string()).find("eos_token_id");
  if (!part) return;
  if (part->value().is_array()) {
    for (const JsonPart& item : part->items()) eos.push_back(item.as_id());
  } else {
    eos.push_back(part->as_id());
  }
}

TokenizerConfig read_config_beside(const fs::path& folder) {
  TokenizerConfig config;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const fs::path path = folder / name;
    if (const auto json = read_json_if_there(path)) {
      read_tokenizer_config(JsonPart(*json, path.string()), config);
    }
  }
  read_eos(folder / "generation_config.json", config.eos);
  if (config.eos.empty()) read_eos(folder / "config.json", config.eos);
  return config;
}

std::unique_ptr<Tokenizer> load_tokenizer_json(const fs::path& path) {
  return parse_tokenizer_json(read_text_file(path, kTokenizerBytes), path.string(),
                              read_config_beside(path.parent_path()));
}

// A template is a string, or a list of {"name", "template"}.
std::string choose_template(const JsonPart& part, bool tools) {
  if (part.value().is_string()) return part.as_string();
  std::string chosen;
  for (const JsonPart& item : part.items()) {
    const std::string name = item.string("name");
    if (name == "default" && chosen.empty()) chosen = item.string("template");
    if (name == "tool_use" && tools) chosen = item.string("template");
  }
  return chosen;
}

std::string load_gguf_template(const fs::path& path, bool tools) {
  const GgufMetadata metadata = GgufMetadata::read(path);
  if (tools) {
    const std::string* text = metadata.find_string("tokenizer.chat_template.tool_use");
    if (text != nullptr) return *text;
  }
  const std::string* text = metadata.find_string("tokenizer.chat_template");
  return text != nullptr ? *text : std::string();
}

std::string load_folder_template(const fs::path& folder, bool tools) {
  const fs::path tool_use = folder / "additional_chat_templates" / "tool_use.jinja";
  if (tools && is_present(tool_use)) return read_text_file(tool_use, kTemplateBytes);
  const fs::path file = folder / "chat_template.jinja";
  if (is_present(file)) return read_text_file(file, kTemplateBytes);
  const fs::path config = folder / "tokenizer_config.json";
  const auto json = read_json_if_there(config);
  if (!json) return {};
  const auto part = JsonPart(*json, config.string()).find("chat_template");
  return part ? choose_template(*part, tools) : std::string();
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const ModelFiles& files,
                                          const std::string& override_path) {
  fs::path path = override_path.empty() ? files.path : fs::path(override_path);
  const bool gguf = override_path.empty() ? files.gguf : path.extension() == ".gguf";
  if (gguf) return make_gguf_tokenizer(GgufMetadata::read(path));
  if (std::error_code error; !fs::is_directory(path, error)) return load_tokenizer_json(path);
  const fs::path file = path / "tokenizer.json";
  if (!is_present(file)) {
    const bool model = is_present(path / "tokenizer.model");
    fail(ExitCode::model_files, "{}: there is no tokenizer.json{}; give one with --tokenizer FILE",
         path.string(), model ? " (a SentencePiece tokenizer.model is not read)" : "");
  }
  return load_tokenizer_json(file);
}

std::string load_chat_template(const ModelFiles& files, const std::string& override_path,
                               bool tools) {
  if (!override_path.empty()) return read_text_file(override_path, kTemplateBytes);
  return files.gguf ? load_gguf_template(files.path, tools)
                    : load_folder_template(files.path, tools);
}

}  // namespace dinfer
