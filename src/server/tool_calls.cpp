#include "server/tool_calls.h"

#include "grammar/schema_grammar.h"
#include "server/text_marks.h"

namespace dinfer {

namespace {

constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";

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

// A text of a ToolFormat: its spaces stand for blanks.
Grammar::Node spell(std::string_view text, Grammar& grammar, JsonGrammar& json,
                    Grammar::Node next) {
  for (size_t i = text.size(); i-- > 0;)
    next = text[i] == ' ' ? json.blank(next) : grammar.literal(text.substr(i, 1), next);
  return next;
}

// Text that cannot be taken for the call that an answer may be instead.
Grammar::Node other_text(char first, Grammar& grammar) {
  const Grammar::Node text = grammar.fresh();
  grammar.link(text, grammar.end());
  grammar.link_byte(text, 0, 255, text);
  const Grammar::Node start = grammar.either({grammar.end()});
  const auto byte = static_cast<uint8_t>(first);
  grammar.link_byte(start, 0, static_cast<uint8_t>(byte - 1), text);
  grammar.link_byte(start, static_cast<uint8_t>(byte + 1), 255, text);
  return start;
}

}  // namespace

void build_tool_grammar(const ToolRule& rule, const std::vector<ToolFunction>& functions,
                        Grammar& grammar) {
  JsonGrammar json(grammar);
  const ToolFormat& format = *rule.format;
  const Grammar::Node behind = grammar.fresh();  // a call
  grammar.link(behind, spell(format.end, grammar, json, grammar.end()));
  const Grammar::Node after = spell(format.after, grammar, json, behind);
  std::vector<Grammar::Node> ways;
  for (const ToolFunction& function : functions) {
    try {
      const Grammar::Node arguments = add_schema(function.parameters, grammar, json, after);
      ways.push_back(
          grammar.literal(function.name, spell(format.middle, grammar, json, arguments)));
    } catch (const Error& error) {
      fail(ExitCode::usage, "parameters of {}: {}", function.name, error.what());
    }
  }
  const Grammar::Node call = spell(format.before, grammar, json, grammar.either(ways));
  if (rule.several && format.repeats)
    grammar.link(behind, spell(format.between, grammar, json, call));
  const Grammar::Node first = spell(format.begin, grammar, json, call);
  if (rule.must_call)
    grammar.set_start(grammar.literal(format.mark, first));
  else if (format.mark.empty())
    grammar.set_start(grammar.either({first, other_text(format.before[0], grammar)}));
  else
    grammar.set_start(text_until(format.mark, first, grammar));
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
