#include "server/tool_calls.h"

#include <algorithm>

#include "grammar/schema_grammar.h"
#include "text/text_marks.h"

namespace dinfer {

namespace {

constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";

// Text without `mark`, which may end anywhere where `may_end`; behind the mark comes `next`. The
// states are how much of the mark the last bytes are (Knuth, Morris, Pratt 1977).
Grammar::Node text_until(std::string_view mark, bool may_end, Grammar::Node next,
                         Grammar& grammar) {
  std::vector<Grammar::Node> states;
  for (size_t i = 0; i < mark.size(); ++i) {
    states.push_back(grammar.fresh());
    if (may_end) grammar.link(states.back(), grammar.end());
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

// The value of a parameter, up to `next`, which begins behind the form's `close`. Of a text only
// `enum` and `const` are held.
Grammar::Node value_of(const OrderedJson& schema, const ParameterForm& form, Grammar& grammar,
                       JsonGrammar& json, Grammar::Node next) {
  const Grammar::Node closed = grammar.literal(form.close, next);
  if (!is_text(schema)) return add_schema(schema, grammar, json, closed);
  OrderedJson allowed = schema.value("enum", OrderedJson::array());
  if (schema.contains("const")) allowed = OrderedJson::array({schema["const"]});
  std::vector<Grammar::Node> choices;
  for (const OrderedJson& choice : allowed)
    if (choice.is_string()) choices.push_back(grammar.literal(choice.get<std::string>(), closed));
  if (!choices.empty()) return grammar.either(choices);
  return text_until(form.close, false, next, grammar);
}

// Arguments one by one, in the order of the schema's properties.
Grammar::Node add_parameters(const OrderedJson& schema, const ParameterForm& form, Grammar& grammar,
                             JsonGrammar& json, Grammar::Node next) {
  for (const char* keyword : {"$ref", "allOf", "anyOf", "oneOf", "patternProperties"}) {
    if (schema.contains(keyword))
      fail(ExitCode::usage, "{} is not available where a model writes parameters one by one",
           keyword);
  }
  const OrderedJson properties = schema.value("properties", OrderedJson::object());
  const OrderedJson required = schema.value("required", OrderedJson::array());
  if (!properties.is_object() || !required.is_array())
    fail(ExitCode::usage, "properties must be an object, required an array");
  for (auto property = properties.rbegin(); property != properties.rend(); ++property) {
    OrderedJson own = property.value();
    if (!own.is_object()) fail(ExitCode::usage, "{} must be an object", property.key());
    for (const char* shared : {"$defs", "definitions"})  // what its $ref may name
      if (schema.contains(shared) && !own.contains(shared)) own[shared] = schema[shared];
    const Grammar::Node behind = spell(form.behind, grammar, json, next);
    const Grammar::Node value = value_of(own, form, grammar, json, behind);
    const Grammar::Node name =
        grammar.literal(property.key(), spell(form.middle, grammar, json, value));
    const Grammar::Node parameter = spell(form.open, grammar, json, name);
    const bool needed = std::ranges::find(required, OrderedJson(property.key())) != required.end();
    next = needed ? parameter : grammar.either({parameter, next});
  }
  return next;
}

Grammar::Node add_arguments(const OrderedJson& schema, const ToolFormat& format, Grammar& grammar,
                            JsonGrammar& json, Grammar::Node next) {
  if (format.by_parameter()) return add_parameters(schema, format.parameters, grammar, json, next);
  return add_schema(schema, grammar, json, next);
}

}  // namespace

bool is_text(const OrderedJson& schema) {
  const auto all_strings = [](const OrderedJson& list) {
    return std::ranges::all_of(list, [](const OrderedJson& item) { return item.is_string(); });
  };
  if (const auto type = schema.find("type"); type != schema.end())
    return *type == "string" ||
           (type->is_array() && std::ranges::find(*type, OrderedJson("string")) != type->end());
  if (schema.contains("const")) return schema["const"].is_string();
  if (schema.contains("enum")) return schema["enum"].is_array() && all_strings(schema["enum"]);
  for (const char* keyword : {"$ref", "allOf", "anyOf", "oneOf", "properties", "items"})
    if (schema.contains(keyword)) return false;
  return true;
}

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
      const Grammar::Node arguments =
          add_arguments(function.parameters, format, grammar, json, after);
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
    grammar.set_start(text_until(format.mark, true, first, grammar));
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
