#include "server/tool_calls.h"

#include <algorithm>
#include <optional>

#include "grammar/schema_grammar.h"
#include "server/access.h"
#include "server/text_marks.h"

namespace dinfer {

namespace {

constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";

std::string_view arguments_key(ToolFormat format) {
  return format == ToolFormat::tagged ? "arguments" : "parameters";
}

std::optional<ToolCall> read_call(std::string_view text, ToolFormat format) {
  try {
    const OrderedJson call = parse_ordered_json(text, "the call", ExitCode::usage);
    const OrderedJson& arguments = call.at(std::string(arguments_key(format)));
    return ToolCall{"call_" + random_hex(24), call.at("name").get<std::string>(),
                    arguments.dump(-1, ' ', false, OrderedJson::error_handler_t::replace)};
  } catch (const std::exception&) {  // not as the grammar has it: cut short
    return std::nullopt;
  }
}

// Text without `mark`, which may end anywhere; behind the mark comes `next`. The states are how
// much of the mark the last bytes are (Knuth, Morris, Pratt 1977).
Grammar::Node text_until(std::string_view mark, Grammar::Node next, Grammar& grammar) {
  std::vector<Grammar::Node> states;
  for (size_t i = 0; i < mark.size(); ++i) {
    states.push_back(grammar.fresh());
    grammar.link(states.back(), grammar.end());
  }
  for (size_t matched = 0; matched < mark.size(); ++matched) {
    for (int byte = 0; byte < 256; ++byte) {
      const std::string seen = std::string(mark.substr(0, matched)) + static_cast<char>(byte);
      const size_t now = seen == mark ? mark.size() : overlap(seen, mark);
      const auto value = static_cast<uint8_t>(byte);
      grammar.link_byte(states[matched], value, value, now == mark.size() ? next : states[now]);
    }
  }
  return states[0];
}

}  // namespace

TemplateTools tools_of_template(std::string_view source) {
  const auto has = [&](std::string_view text) {
    return source.find(text) != std::string_view::npos;
  };
  if (!has("tools")) return {};
  if (has(kOpen)) return {ToolFormat::tagged, true, true};
  if (has("\"parameters\": dictionary")) return {ToolFormat::bare, true, true};
  return {ToolFormat::tagged, true, false};
}

void build_tool_grammar(const ToolRule& rule, const std::vector<ToolFunction>& functions,
                        Grammar& grammar) {
  JsonGrammar json(grammar);
  const bool tagged = rule.format == ToolFormat::tagged;
  const Grammar::Node behind = grammar.fresh();  // a call
  grammar.link(behind, grammar.end());
  const Grammar::Node close =
      grammar.byte('}', '}', tagged ? json.blank(grammar.literal(kClose, behind)) : behind);
  std::vector<Grammar::Node> ways;
  for (const ToolFunction& function : functions) {
    try {
      const Grammar::Node arguments = add_schema(function.parameters, grammar, json, close);
      const Grammar::Node key =
          grammar.literal(OrderedJson(arguments_key(rule.format)).dump(), json.colon(arguments));
      ways.push_back(grammar.literal(OrderedJson(function.name).dump(), json.comma(key)));
    } catch (const Error& error) {
      fail(ExitCode::usage, "parameters of {}: {}", function.name, error.what());
    }
  }
  const Grammar::Node call = grammar.literal("{\"name\"", json.colon(grammar.either(ways)));
  const Grammar::Node body = tagged ? json.blank(call) : call;
  const Grammar::Node first = tagged ? grammar.literal(kOpen, body) : call;
  if (tagged && rule.several) grammar.link(behind, json.blank(first));
  if (rule.must_call) return grammar.set_start(first);
  if (tagged) return grammar.set_start(text_until(kOpen, body, grammar));
  const Grammar::Node text = grammar.fresh();
  grammar.link(text, grammar.end());
  grammar.link_byte(text, 0, 255, text);
  const Grammar::Node start = grammar.either({call, grammar.end()});
  grammar.link_byte(start, 0, '{' - 1, text);
  grammar.link_byte(start, '{' + 1, 255, text);
  grammar.set_start(start);
}

ToolCallReader::Piece ToolCallReader::push(std::string_view text) {
  Piece piece;
  held_ += text;
  if (format_ == ToolFormat::bare) {
    if (!held_.starts_with('{')) piece.text = std::exchange(held_, "");
    return piece;
  }
  while (inside_ ? read_inside(piece) : read_outside(piece)) {
  }
  return piece;
}

bool ToolCallReader::read_outside(Piece& piece) {
  const size_t at = held_.find(kOpen);
  const size_t keep = at == std::string::npos ? overlap(held_, kOpen) : held_.size() - at;
  std::string text = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  // Blanks between calls are no text.
  if (!called_ || text.find_first_not_of(" \n") != std::string::npos) piece.text += text;
  if (at == std::string::npos) return false;
  held_.erase(0, kOpen.size());
  searched_ = 0;
  inside_ = true;
  return true;
}

bool ToolCallReader::read_inside(Piece& piece) {
  const size_t at = held_.find(kClose, searched_);
  if (at == std::string::npos) {
    searched_ = held_.size() - std::min(held_.size(), kClose.size() - 1);
    return false;
  }
  if (auto call = read_call(std::string_view(held_).substr(0, at), format_)) {
    piece.calls.push_back(*std::move(call));
    called_ = true;
    inside_ = false;
    held_.erase(0, at + kClose.size());
    return true;
  }
  searched_ = at + 1;  // the mark stands in a string of the arguments
  return true;
}

ToolCallReader::Piece ToolCallReader::finish() {
  Piece piece;
  if (format_ == ToolFormat::bare && !held_.empty()) {
    if (auto call = read_call(held_, format_)) {
      piece.calls.push_back(*std::move(call));
      return piece;
    }
  }
  piece.text = (inside_ ? std::string(kOpen) : "") + held_;
  held_.clear();
  return piece;
}

std::string describe_tools(const OrderedJson& tools) {
  std::string text =
      "You can call functions. To call one, answer with its name and arguments in this form:\n"
      "<tool_call>\n{\"name\": \"NAME\", \"arguments\": {}}\n</tool_call>\n"
      "The functions, with JSON Schemas of their arguments:";
  for (const OrderedJson& tool : tools) text += "\n" + tool.at("function").dump();
  return text;
}

void write_calls_as_text(OrderedJson& messages) {
  for (OrderedJson& message : messages) {
    const std::string content = message.value("content", "");
    if (message["role"] == "tool") {
      message = {{"role", "user"},
                 {"content", "<tool_response>\n" + content + "\n</tool_response>"}};
    }
    const auto calls = message.find("tool_calls");
    if (calls == message.end() || !calls->is_array()) continue;
    std::string text = content;
    for (const OrderedJson& call : *calls) {
      const OrderedJson shown{{"name", call["function"]["name"]},
                              {"arguments", call["function"]["arguments"]}};
      text += (text.empty() ? "" : "\n") + std::string(kOpen) + "\n" + shown.dump() + "\n" +
              std::string(kClose);
    }
    message["content"] = text;
    message.erase("tool_calls");
  }
}

}  // namespace dinfer
