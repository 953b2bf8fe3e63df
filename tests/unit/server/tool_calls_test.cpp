#include "server/tool_calls.h"

#include <gtest/gtest.h>

#include "grammar/grammar_machine.h"
#include "server/tool_call_reader.h"

namespace dinfer {
namespace {

const std::string kCall = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>";

const ToolFormat& format_of(const std::string& signs) {
  return *tools_of_template("{% if tools %}" + signs).format;
}
const ToolFormat& bare() { return format_of("\"parameters\": dictionary"); }

std::vector<ToolFunction> functions() {
  return {{"f", OrderedJson::parse(R"({"type": "object", "properties": {"x": {"type": "integer"}},
                         "required": ["x"]})")},
          {"g", {{"type", "object"}}}};
}
std::shared_ptr<const std::vector<ToolFunction>> shared_functions() {
  return std::make_shared<const std::vector<ToolFunction>>(functions());
}

// A whole answer, read in pieces of so many bytes; its calls with all of their arguments.
ToolCallReader::Piece read(const ToolFormat& format, std::string_view text, size_t step) {
  ToolCallReader reader(format, shared_functions());
  ToolCallReader::Piece all;
  const auto add = [&](ToolCallReader::Piece piece) {
    all.text += piece.text;
    for (ToolCall& call : piece.calls) {
      if (!call.id.empty())
        all.calls.push_back(std::move(call));
      else
        all.calls.at(call.index).arguments += call.arguments;
    }
  };
  for (size_t at = 0; at < text.size(); at += step) add(reader.push(text.substr(at, step)));
  add(reader.finish());
  return all;
}

TEST(ToolCallReader, CallsAndTextComeApartWhereverTheyAreCut) {
  for (const size_t step : {1u, 2u, 3u, 7u, 1000u}) {
    const auto both = read(tagged_format(), "Well: " + kCall + "\n" + kCall, step);
    EXPECT_EQ(both.text, "Well: ");
    ASSERT_EQ(both.calls.size(), 2u);
    EXPECT_EQ(both.calls[0].name, "f");
    EXPECT_EQ(both.calls[1].arguments, "{\"x\": 1}");
    EXPECT_NE(both.calls[0].id, both.calls[1].id);
    EXPECT_EQ(read(tagged_format(), "a < b <tool", step).text, "a < b <tool");
    const std::string tricky =
        R"(<tool_call>{"name": "f", "arguments": {"x": "</tool_call>\"}"}}</tool_call>)";
    const auto one = read(tagged_format(), tricky, step);
    ASSERT_EQ(one.calls.size(), 1u);
    EXPECT_EQ(one.calls[0].arguments, R"({"x": "</tool_call>\"}"})");
    const auto answer = read(bare(), "{\"name\": \"f\", \"parameters\": {}}", step);
    EXPECT_EQ(answer.text, "");
    ASSERT_EQ(answer.calls.size(), 1u);
    EXPECT_EQ(answer.calls[0].arguments, "{}");
    EXPECT_EQ(read(bare(), "no {call}", step).text, "no {call}");
    EXPECT_EQ(read(bare(), "{\"name\"", step).text, "{\"name\"");
  }
}

TEST(ToolCallReader, ACallThatIsCutIsTextUntilItsNameIsKnown) {
  for (const size_t step : {1u, 5u, 1000u}) {
    const auto unnamed = read(tagged_format(), kCall.substr(0, 20), step);
    EXPECT_EQ(unnamed.text, kCall.substr(0, 20));
    EXPECT_TRUE(unnamed.calls.empty());
    const auto cut = read(tagged_format(), kCall.substr(0, 45), step);
    EXPECT_EQ(cut.text, "");
    ASSERT_EQ(cut.calls.size(), 1u);
    EXPECT_EQ(cut.calls[0].arguments, "{\"x\": ");
  }
}

TEST(ToolCallReader, ArgumentsComeAsTheyAreWritten) {
  ToolCallReader reader(tagged_format(), shared_functions());
  EXPECT_TRUE(reader.push("<tool_call>{\"name\":\"f\", \"argu").calls.empty());
  const auto begun = reader.push("ments\": {\"x").calls;
  ASSERT_EQ(begun.size(), 2u);
  EXPECT_EQ(begun[0].name, "f");
  EXPECT_EQ(begun[1].arguments, "{\"x");
  const auto more = reader.push("\": 12").calls;
  ASSERT_EQ(more.size(), 1u);
  EXPECT_TRUE(more[0].id.empty());
  EXPECT_EQ(more[0].arguments, "\": 12");
}

class Rules {
 public:
  explicit Rules(const ToolRule& rule, const std::vector<ToolFunction>& called = functions()) {
    build_tool_grammar(rule, called, grammar_);
  }
  bool has(std::string_view text) const {
    GrammarMachine machine(grammar_);
    auto state = machine.start();
    for (const char c : text) state = machine.step(state, static_cast<uint8_t>(c));
    return machine.accepts(state);
  }

 private:
  Grammar grammar_;
};

TEST(ToolGrammar, CallsOnlyOrTextWithCalls) {
  const Rules must({.must_call = true});
  EXPECT_TRUE(must.has(kCall));
  EXPECT_TRUE(must.has(kCall + "\n" + kCall));
  EXPECT_TRUE(must.has("<tool_call>{\"name\":\"g\",\"arguments\":{\"any\":[1]}}</tool_call>"));
  EXPECT_FALSE(must.has(""));
  EXPECT_FALSE(must.has("text"));
  EXPECT_FALSE(must.has("<tool_call>{\"name\":\"h\",\"arguments\":{}}</tool_call>"));
  EXPECT_FALSE(must.has("<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":\"1\"}}</tool_call>"));
  const Rules one({.must_call = true, .several = false});
  EXPECT_TRUE(one.has(kCall));
  EXPECT_FALSE(one.has(kCall + "\n" + kCall));

  const Rules may({});
  EXPECT_TRUE(may.has(""));
  EXPECT_TRUE(may.has("text with < and <tool_cal and <<tool"));
  EXPECT_TRUE(may.has("text <" + kCall + kCall));
  EXPECT_FALSE(may.has("text <tool_call>"));
  EXPECT_FALSE(may.has("<tool_call>free"));
  EXPECT_FALSE(may.has(kCall + " text"));

  const Rules whole({.format = &bare()});
  EXPECT_TRUE(whole.has("{\"name\": \"f\", \"parameters\": {\"x\": 1}}"));
  EXPECT_TRUE(whole.has("any text {"));
  EXPECT_FALSE(whole.has("{\"name\": \"f\"}"));
  EXPECT_FALSE(Rules({.format = &bare(), .must_call = true}).has("text"));
}

TEST(ToolFormat, IsThatOfTheTemplate) {
  EXPECT_FALSE(tools_of_template("{{ messages }}").shows_tools);
  EXPECT_TRUE(tools_of_template("{% if tools %}<tool_call>{% endif %}").known_format);
  EXPECT_TRUE(bare().mark.empty());
  EXPECT_FALSE(tools_of_template("{{ tools }}[CALLS]").known_format);
  EXPECT_EQ(format_of("<tool_call><function=").parameters.open, "<parameter=");
}

// Each way of writing two calls: the grammar lets it through, and the reader finds the calls.
TEST(ToolFormat, EveryFormatIsWrittenAndRead) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"<tool_call>", kCall + kCall},
      {"[TOOL_CALLS]",
       R"([TOOL_CALLS][{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {}}])"},
      {"[TOOL_CALLS][ARGS]", R"([TOOL_CALLS]f[ARGS]{"x": 1}[TOOL_CALLS]g[ARGS]{})"},
      {"<|tool_call|><|/tool_call|>",
       R"(<|tool_call|>[{"name": "f", "arguments": {"x": 1}},{"name": "g", "arguments": {}}]<|/tool_call|>)"},
      {"<|tool_call|>",
       R"(<|tool_call|> [{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {}}])"},
      {"<｜tool▁calls▁begin｜>",
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"x\": 1}<｜tool▁call▁end｜>"
       "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
      {"<｜tool▁calls▁begin｜>```json",
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"x\": "
       "1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```"
       "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
      {"<function=<tool_call>",
       "<tool_call>\n<function=f>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>\n"
       "<tool_call>\n<function=g>\n</function>\n</tool_call>"},
      {"<function=<seed:tool_call>",
       "<seed:tool_call>\n<function=f>\n<parameter=x>1</parameter>\n</function>\n</seed:tool_call>"
       "<seed:tool_call>\n<function=g>\n</function>\n</seed:tool_call>"},
      {"<arg_key><tool_call>",
       "<tool_call>f\n<arg_key>x</arg_key>\n<arg_value>1</arg_value>\n</tool_call>\n"
       "<tool_call>g\n</tool_call>"},
      {"<minimax:tool_call><invoke name=",
       "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"x\">1</parameter>\n</invoke>\n"
       "<invoke name=\"g\">\n</invoke>\n</minimax:tool_call>"},
      {"<TOOLCALL>",
       R"(<TOOLCALL>[{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {}}]</TOOLCALL>)"}};
  for (const auto& [signs, text] : cases) {
    const ToolFormat& format = format_of(signs);
    ASSERT_TRUE(tools_of_template("tools " + signs).known_format) << signs;
    EXPECT_TRUE(Rules({.format = &format, .must_call = true}).has(text)) << text;
    EXPECT_TRUE(Rules({.format = &format}).has("Well: " + text)) << text;
    EXPECT_FALSE(Rules({.format = &format, .several = false}).has(text)) << text;
    for (const size_t step : {1u, 4u, 1000u}) {
      const auto found = read(format, "Well: " + text, step);
      EXPECT_EQ(found.text, "Well: ") << text;
      ASSERT_EQ(found.calls.size(), 2u) << text;
      EXPECT_EQ(found.calls[0].arguments, "{\"x\": 1}");
      EXPECT_EQ(found.calls[1].index, 1u);
    }
  }
}

// Parameters that a model writes one by one: texts as they are, all else as JSON.
TEST(ToolFormat, ParametersComeTogetherAsAnObject) {
  const ToolFormat& format = format_of("<function=<tool_call>");
  const std::vector<ToolFunction> called{{"edit", OrderedJson::parse(R"({
      "type": "object", "required": ["path", "text"],
      "properties": {"path": {"type": "string"}, "mode": {"enum": ["add", "new"]},
                     "lines": {"$ref": "#/$defs/lines"}, "text": {"type": "string"}},
      "$defs": {"lines": {"type": "array", "items": {"type": "integer"}}}})")}};
  const auto written = [](const std::string& parameters) {
    return "<tool_call>\n<function=edit>\n" + parameters + "</function>\n</tool_call>";
  };
  const auto parameter = [](const std::string& name, const std::string& value) {
    return "<parameter=" + name + ">\n" + value + "\n</parameter>\n";
  };
  const std::string path = parameter("path", "a \"b\".c");
  const std::string text = parameter("text", "if (a < b)\n  <parameter=x>\n</parameter");
  const Rules rules({.format = &format, .must_call = true}, called);
  EXPECT_TRUE(rules.has(written(path + text)));
  EXPECT_TRUE(
      rules.has(written(path + parameter("mode", "add") + parameter("lines", "[1, 2]") + text)));
  EXPECT_FALSE(rules.has(written(path)));
  EXPECT_FALSE(rules.has(written(text + path)));
  EXPECT_FALSE(rules.has(written(path + parameter("mode", "other") + text)));
  EXPECT_FALSE(rules.has(written(path + parameter("lines", "[1.5]") + text)));
  EXPECT_FALSE(rules.has(written(path + text + parameter("more", "1"))));

  for (const size_t step : {1u, 3u, 1000u}) {
    ToolCallReader reader(format, std::make_shared<const std::vector<ToolFunction>>(called));
    const std::string all = written(path + parameter("lines", "[1, 2]") + text);
    std::string arguments;
    for (size_t at = 0; at < all.size(); at += step)
      for (const ToolCall& call : reader.push(all.substr(at, step)).calls)
        arguments += call.arguments;
    EXPECT_EQ(OrderedJson::parse(arguments),
              (OrderedJson{{"path", "a \"b\".c"},
                           {"lines", {1, 2}},
                           {"text", "if (a < b)\n  <parameter=x>\n</parameter"}}));
    EXPECT_EQ(reader.finish().text, "");
  }
  EXPECT_THROW(Rules({.format = &format}, {{"f", {{"$ref", "#/$defs/a"}}}}), Error);
}

TEST(ToolText, TemplatesWithoutToolsGetMessages) {
  OrderedJson messages = OrderedJson::parse(R"([
      {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
      {"role": "tool", "content": "5"}])");
  write_calls_as_text(messages);
  EXPECT_EQ(messages[0]["content"],
            "<tool_call>\n{\"name\":\"f\",\"arguments\":{\"x\":1}}\n</tool_call>");
  EXPECT_FALSE(messages[0].contains("tool_calls"));
  EXPECT_EQ(messages[1]["role"], "user");
  EXPECT_NE(messages[1]["content"].get<std::string>().find("5"), std::string::npos);
}

}  // namespace
}  // namespace dinfer
