#include "server/tool_calls.h"

#include <gtest/gtest.h>

#include "grammar/grammar_machine.h"

namespace dinfer {
namespace {

const std::string kCall = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>";

// A whole answer, read in pieces of so many bytes.
ToolCallReader::Piece read(ToolFormat format, std::string_view text, size_t step) {
  ToolCallReader reader(format);
  ToolCallReader::Piece all;
  const auto add = [&](ToolCallReader::Piece piece) {
    all.text += piece.text;
    for (ToolCall& call : piece.calls) all.calls.push_back(std::move(call));
  };
  for (size_t at = 0; at < text.size(); at += step) add(reader.push(text.substr(at, step)));
  add(reader.finish());
  return all;
}

TEST(ToolCallReader, CallsAndTextComeApartWhereverTheyAreCut) {
  for (const size_t step : {1u, 2u, 3u, 7u, 1000u}) {
    const auto both = read(ToolFormat::tagged, "Well: " + kCall + "\n" + kCall, step);
    EXPECT_EQ(both.text, "Well: ");
    ASSERT_EQ(both.calls.size(), 2u);
    EXPECT_EQ(both.calls[0].name, "f");
    EXPECT_EQ(both.calls[1].arguments, "{\"x\":1}");
    EXPECT_NE(both.calls[0].id, both.calls[1].id);
    EXPECT_EQ(read(ToolFormat::tagged, "a < b <tool", step).text, "a < b <tool");
    const std::string tricky =
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"</tool_call>\"}}</tool_call>";
    ASSERT_EQ(read(ToolFormat::tagged, tricky, step).calls.size(), 1u);
    const auto cut = read(ToolFormat::tagged, kCall.substr(0, 30), step);
    EXPECT_EQ(cut.text, kCall.substr(0, 30));
    EXPECT_TRUE(cut.calls.empty());
    const auto bare = read(ToolFormat::bare, "{\"name\": \"f\", \"parameters\": {}}", step);
    EXPECT_EQ(bare.text, "");
    ASSERT_EQ(bare.calls.size(), 1u);
    EXPECT_EQ(bare.calls[0].arguments, "{}");
    EXPECT_EQ(read(ToolFormat::bare, "no {call}", step).text, "no {call}");
    EXPECT_EQ(read(ToolFormat::bare, "{\"name\"", step).text, "{\"name\"");
  }
}

class Rules {
 public:
  explicit Rules(const ToolRule& rule) {
    build_tool_grammar(
        rule,
        {{"f", OrderedJson::parse(R"({"type": "object", "properties": {"x": {"type": "integer"}},
                         "required": ["x"]})")},
         {"g", {{"type", "object"}}}},
        grammar_);
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

  const Rules bare({.format = ToolFormat::bare});
  EXPECT_TRUE(bare.has("{\"name\": \"f\", \"parameters\": {\"x\": 1}}"));
  EXPECT_TRUE(bare.has("any text {"));
  EXPECT_FALSE(bare.has("{\"name\": \"f\"}"));
  EXPECT_FALSE(Rules({.format = ToolFormat::bare, .must_call = true}).has("text"));
}

TEST(ToolFormat, IsThatOfTheTemplate) {
  EXPECT_FALSE(tools_of_template("{{ messages }}").shows_tools);
  EXPECT_TRUE(tools_of_template("{% if tools %}<tool_call>{% endif %}").known_format);
  EXPECT_EQ(tools_of_template("{{ tools }} {\"name\": name, \"parameters\": dictionary of}").format,
            ToolFormat::bare);
  EXPECT_FALSE(tools_of_template("{{ tools }}[CALLS]").known_format);
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
