#include "cli/tokenize.h"

#include <iostream>
#include <iterator>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/nearest.h"
#include "checkpoint/model_files.h"
#include "cli/output.h"
#include "cli/value_rule.h"
#include "text/chat_prompt.h"
#include "text/load_text.h"

namespace dinfer {

namespace {

constexpr uint64_t kMostChatBytes = uint64_t{256} << 20;

void refuse_contradictions(const Options& o) {
  const auto both = [](bool a, std::string_view flag, bool b, std::string_view other) {
    if (a && b) fail(ExitCode::usage, "{} and {} cannot be used together", flag, other);
  };
  both(o.decode, "--decode", o.no_add_special, "--no-add-special");
  both(o.decode, "--decode", o.parse_special, "--parse-special");
  both(o.jsonl, "--jsonl", o.decode, "--decode");
  both(o.jsonl, "--jsonl", o.prompt.has_value(), "--prompt");
  both(!o.chat.empty(), "--chat", o.decode, "--decode");
  both(!o.chat.empty(), "--chat", o.jsonl, "--jsonl");
  both(!o.chat.empty(), "--chat", o.prompt.has_value(), "--prompt");
  both(!o.chat.empty(), "--chat", o.parse_special, "--parse-special");
  if (o.text && o.chat.empty()) fail(ExitCode::usage, "--text needs --chat FILE");
}

std::string read_input() {
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

// Bytes that are not UTF-8 become U+FFFD: JSON text cannot hold them.
void print_line(const OrderedJson& json) {
  write_output(json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

void print_tokens(const std::vector<int32_t>& ids) { print_line({{"tokens", ids}}); }
void print_text(const std::string& text) { print_line({{"text", text}}); }

int32_t checked_id(int64_t id, std::string_view where) {
  if (id < 0 || id > std::numeric_limits<int32_t>::max()) {
    fail(ExitCode::usage, "{}: {} is no token id", where, id);
  }
  return static_cast<int32_t>(id);
}

std::vector<int32_t> ids_of(const Json& json, std::string_view where) {
  if (!json.is_array()) fail(ExitCode::usage, "{}: token ids must be a JSON array", where);
  std::vector<int32_t> ids;
  for (const Json& id : json) {
    if (!id.is_number_integer()) {
      fail(ExitCode::usage, "{}: {} is no token id", where, id.dump().substr(0, 80));
    }
    ids.push_back(checked_id(id.get<int64_t>(), where));
  }
  return ids;
}

// Ids as JSON ([1, 2] or {"tokens": [1, 2]}), or separated by blanks and commas.
std::vector<int32_t> parse_ids(std::string_view text, std::string_view where) {
  constexpr std::string_view kSeparators = " ,\t\r\n";
  const size_t first = text.find_first_not_of(kSeparators);
  if (first == std::string_view::npos) return {};
  if (text[first] == '[' || text[first] == '{') {
    const Json json = parse_json(text, where, ExitCode::usage);
    if (!json.is_object()) return ids_of(json, where);
    if (!json.contains("tokens")) fail(ExitCode::usage, "{}: no \"tokens\" in the object", where);
    return ids_of(json["tokens"], where);
  }
  std::vector<int32_t> ids;
  size_t begin = first;
  while (begin != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    int64_t id = 0;
    if (!parse_number(word, id)) {
      fail(ExitCode::usage, "{}: {} is no token id", where, word.substr(0, 80));
    }
    ids.push_back(checked_id(id, where));
    begin = text.find_first_not_of(kSeparators, end);
  }
  return ids;
}

void convert_lines(const Tokenizer& tokenizer, const EncodeOptions& encode) {
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("standard input, line {}", number);
    const Json json = parse_json(line, where, ExitCode::usage);
    if (json.is_object() && json.contains("text") && json["text"].is_string()) {
      print_tokens(tokenizer.encode(json["text"].get_ref<const std::string&>(), encode));
    } else if (json.is_object() && json.contains("tokens")) {
      print_text(tokenizer.decode(ids_of(json["tokens"], where), false));
    } else {
      fail(ExitCode::usage, "{}: must be an object with \"text\" (a string) or \"tokens\"", where);
    }
  }
}

std::string read_chat_file(const std::string& path) {
  if (path == "-") return read_input();
  try {
    return read_text_file(path, kMostChatBytes);
  } catch (const Error& e) {
    fail(ExitCode::usage, "--chat {}", e.what());
  }
}

ChatTemplate::Input read_chat(const std::string& path) {
  const std::string where = "--chat " + path;
  OrderedJson json = parse_ordered_json(read_chat_file(path), where, ExitCode::usage);
  if (!json.is_object()) fail(ExitCode::usage, "{}: must be a JSON object", where);
  ChatTemplate::Input input;
  const std::vector<std::string> known{"messages", "tools", "documents", "add_generation_prompt",
                                       "chat_template_kwargs"};
  for (auto& [key, value] : json.items()) {
    if (key == "messages" && value.is_array()) {
      input.messages = std::move(value);
    } else if (key == "tools" && (value.is_array() || value.is_null())) {
      input.tools = std::move(value);
    } else if (key == "documents" && (value.is_array() || value.is_null())) {
      input.documents = std::move(value);
    } else if (key == "add_generation_prompt" && value.is_boolean()) {
      input.add_generation_prompt = value.get<bool>();
    } else if (key == "chat_template_kwargs" && value.is_object()) {
      input.kwargs = std::move(value);
    } else if (std::find(known.begin(), known.end(), key) != known.end()) {
      fail(ExitCode::usage, "{}: \"{}\" must not be {}", where, key, value.type_name());
    } else {
      const std::string meant = nearest(key, known);
      fail(ExitCode::usage, "{}: unknown key \"{}\"{}", where, key,
           meant.empty() ? "" : "; did you mean \"" + meant + "\"?");
    }
  }
  if (input.messages.is_null()) fail(ExitCode::usage, "{}: no \"messages\"", where);
  return input;
}

}  // namespace

int tokenize_command(const Options& options) {
  refuse_contradictions(options);
  const ModelFiles files = locate_model(options.model, options.revision);
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(files, options.tokenizer);
  const EncodeOptions encode{.add_special = !options.no_add_special,
                             .parse_special = options.parse_special};
  if (!options.chat.empty()) {
    ChatTemplate::Input input = read_chat(options.chat);
    const bool tools = !input.tools.is_null();
    const RenderedChat chat = render_chat(load_chat_template(files, options.chat_template, tools),
                                          *tokenizer, std::move(input));
    options.text ? print_text(chat.text) : print_tokens(encode_chat(*tokenizer, chat));
  } else if (options.jsonl) {
    convert_lines(*tokenizer, encode);
  } else {
    const std::string input = options.prompt ? *options.prompt : read_input();
    if (options.decode) {
      print_text(tokenizer->decode(parse_ids(input, options.prompt ? "--prompt" : "standard input"),
                                   false));
    } else {
      print_tokens(tokenizer->encode(input, encode));
    }
  }
  return 0;
}

}  // namespace dinfer
