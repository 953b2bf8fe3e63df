#include "grammar/schema_grammar.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "grammar/grammar_machine.h"

namespace dinfer {
namespace {

// Whether a schema's grammar has a text.
class Schema {
 public:
  explicit Schema(std::string_view schema) {
    JsonGrammar json(grammar_);
    const OrderedJson parsed = OrderedJson::parse(schema);
    grammar_.set_start(add_schema(parsed, grammar_, json, grammar_.end()));
  }
  bool has(std::string_view text) const {
    GrammarMachine machine(grammar_);
    GrammarMachine::State state = machine.start();
    for (const char c : text) state = machine.step(state, static_cast<uint8_t>(c));
    return machine.accepts(state);
  }
  bool begins(std::string_view text) const {
    GrammarMachine machine(grammar_);
    GrammarMachine::State state = machine.start();
    for (const char c : text) state = machine.step(state, static_cast<uint8_t>(c));
    return state != GrammarMachine::kDead;
  }

 private:
  Grammar grammar_;
};

std::string refusal(std::string_view schema) {
  try {
    const Schema compiled(schema);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(JsonGrammar, AnyValue) {
  const Schema any("true");
  for (const char* text :
       {"0", "-1", "1.5", "1e5", "-0.25E-10", "true", "false", "null", "\"\"", "\"a b\"", "[]",
        "{}", "[1, 2]", "[1,2]", "{\"a\": 1, \"b\": [true]}", "{\n  \"a\": {\n    \"b\": 1\n  }\n}",
        "\"\\u00e9\\n\\\"\"", "\"\\ud83d\\ude00\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""}) {
    EXPECT_TRUE(any.has(text)) << text;
  }
  for (const char* text : {"",
                           " 1",
                           "1 ",
                           "01",
                           "+1",
                           "1.",
                           ".5",
                           "1e",
                           "tru",
                           "[1,]",
                           "{\"a\"}",
                           "{a: 1}",
                           "[1 , 2]",
                           "\"\n\"",
                           "\"\\x\"",
                           "\"\\ud83d\"",
                           "\"\\ude00\"",
                           "\"\x80\"",
                           "\"\xc0\xaf\"",
                           "\"\xed\xa0\x80\"",
                           "\"\xf5\x80\x80\x80\"",
                           "[1,  2]",
                           "nul",
                           "]",
                           "1,2",
                           "{\"a\": 1,}"}) {
    EXPECT_FALSE(any.has(text)) << text;
  }
}

TEST(JsonGrammar, NestsAsDeepAsItsMachineAllows) {
  const Schema any("true");
  EXPECT_TRUE(any.has(std::string(60, '[') + std::string(60, ']')));
  EXPECT_FALSE(any.begins(std::string(2000, '[')));
}

TEST(SchemaGrammar, ObjectsHaveTheirPropertiesInOrder) {
  const Schema object(R"({"type": "object", "properties": {"a": {"type": "integer"},
      "b": {"type": "string"}, "c": {"type": "boolean"}}, "required": ["a", "c"]})");
  EXPECT_TRUE(object.has(R"({"a": 1, "b": "x", "c": true})"));
  EXPECT_TRUE(object.has(R"({"a":1,"c":false})"));
  EXPECT_FALSE(object.has(R"({"c": true, "a": 1})"));
  EXPECT_FALSE(object.has(R"({"a": 1})"));
  EXPECT_FALSE(object.has(R"({"a": "1", "c": true})"));
  EXPECT_FALSE(object.has(R"({"a": 1, "c": true, "d": 1})"));
  EXPECT_FALSE(object.has(R"({, "a": 1, "c": true})"));
}

TEST(SchemaGrammar, OptionalPropertiesAndNone) {
  const Schema object(R"({"properties": {"a": {"type": "null"}, "b": {"type": "null"}}})");
  for (const char* text : {"{}", R"({"a": null})", R"({"b": null})", R"({"a": null, "b": null})"})
    EXPECT_TRUE(object.has(text)) << text;
  EXPECT_FALSE(object.has(R"({"a": null,})"));
  EXPECT_TRUE(Schema(R"({"type": "object", "properties": {}})").has("{}"));
  EXPECT_FALSE(Schema(R"({"type": "object", "properties": {}})").begins("{\""));
  EXPECT_TRUE(Schema(R"({"type": "object"})").has(R"({"x": [1]})"));
}

TEST(SchemaGrammar, FurtherPropertiesAreNotTheNamedOnes) {
  const Schema object(R"({"type": "object", "properties": {"ab": {"type": "integer"}},
      "required": ["ab"], "additionalProperties": {"type": "boolean"}})");
  EXPECT_TRUE(object.has(R"({"ab": 1})"));
  EXPECT_TRUE(object.has(R"({"ab": 1, "a": true, "abc": false, "": true, "x\n": true})"));
  EXPECT_FALSE(object.has(R"({"ab": 1, "ab": true})"));
  EXPECT_FALSE(object.has(R"({"ab": 1, "\u0061b": true})"));
  EXPECT_FALSE(object.has(R"({"ab": 1, "c": 1})"));
  const Schema map(R"({"type": "object", "additionalProperties": {"type": "integer"}})");
  EXPECT_TRUE(map.has(R"({"\u0061": 1, "é": 2})"));
  EXPECT_FALSE(map.has(R"({"a": "1"})"));
}

TEST(SchemaGrammar, RequiredPropertiesThatNothingDescribes) {
  const Schema object(R"({"type": "object", "required": ["x"]})");
  EXPECT_TRUE(object.has(R"({"x": [1]})"));
  EXPECT_FALSE(object.has("{}"));
  EXPECT_NE(refusal(R"({"required": ["x"], "additionalProperties": false})"), "");
}

TEST(SchemaGrammar, Arrays) {
  const Schema some(
      R"({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3})");
  EXPECT_FALSE(some.has("[]"));
  EXPECT_FALSE(some.has("[1]"));
  EXPECT_TRUE(some.has("[1, 2]"));
  EXPECT_TRUE(some.has("[1, 2, 3]"));
  EXPECT_FALSE(some.has("[1, 2, 3, 4]"));
  const Schema least(R"({"items": {"type": "integer"}, "minItems": 1})");
  EXPECT_FALSE(least.has("[]"));
  EXPECT_TRUE(least.has("[1]"));
  EXPECT_TRUE(least.has("[1, 2, 3, 4, 5]"));
  const Schema any(R"({"type": "array"})");
  EXPECT_TRUE(any.has("[]"));
  EXPECT_TRUE(any.has("[1, \"a\", [{}]]"));
  const Schema pair(R"({"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false,
      "minItems": 2})");
  EXPECT_TRUE(pair.has("[1, \"a\"]"));
  EXPECT_FALSE(pair.has("[1]"));
  EXPECT_FALSE(pair.has("[1, \"a\", 1]"));
  const Schema open(R"({"prefixItems": [{"type": "integer"}], "items": {"type": "string"}})");
  EXPECT_TRUE(open.has("[]"));
  EXPECT_TRUE(open.has("[1, \"a\", \"b\"]"));
  EXPECT_FALSE(open.has("[\"a\"]"));
  EXPECT_TRUE(Schema(R"({"type": "array", "maxItems": 0})").has("[]"));
  EXPECT_FALSE(Schema(R"({"type": "array", "maxItems": 0})").begins("[1"));
}

TEST(SchemaGrammar, StringsCountCharacters) {
  const Schema some(R"({"type": "string", "minLength": 2, "maxLength": 3})");
  EXPECT_FALSE(some.has("\"a\""));
  EXPECT_TRUE(some.has("\"\xc3\xa9\\n\""));
  EXPECT_TRUE(some.has("\"abc\""));
  EXPECT_FALSE(some.has("\"abcd\""));
  EXPECT_TRUE(Schema(R"({"minLength": 2})").has("\"abcdef\""));
  EXPECT_TRUE(Schema(R"({"maxLength": 0})").has("\"\""));
}

TEST(SchemaGrammar, IntegersWithinBounds) {
  for (const auto& [low, high] : {std::pair{-25, 117}, {0, 9}, {10, 1005}, {-200, -7}, {3, 3}}) {
    const Schema some(
        fmt::format(R"({{"type": "integer", "minimum": {}, "maximum": {}}})", low, high));
    for (int i = -1100; i <= 1100; ++i)
      EXPECT_EQ(some.has(std::to_string(i)), low <= i && i <= high)
          << i << " in " << low << " " << high;
    EXPECT_FALSE(some.has("007"));
  }
  const Schema positive(R"({"type": "integer", "exclusiveMinimum": 0})");
  EXPECT_FALSE(positive.has("0"));
  EXPECT_TRUE(positive.has("123456789"));
  EXPECT_FALSE(positive.begins("-"));
  EXPECT_NE(refusal(R"({"type": "integer", "minimum": 2, "maximum": 1})"), "");
}

TEST(SchemaGrammar, EnumConstAndTypes) {
  const Schema some(R"({"enum": ["red", "green", 5, null, {"a": [1]}]})");
  for (const char* text : {"\"red\"", "5", "null", R"({"a":[1]})"})
    EXPECT_TRUE(some.has(text)) << text;
  EXPECT_FALSE(some.has("\"blue\""));
  const Schema alike(R"({"enum": [1, 12, 123, "a", "ab", 12]})");
  for (const char* good : {"1", "12", "123", "\"a\"", "\"ab\""})
    EXPECT_TRUE(alike.has(good)) << good;
  for (const char* bad : {"", "2", "13", "1234", "\"\"", "\"b\"", "\"abc\""})
    EXPECT_FALSE(alike.has(bad)) << bad;
  EXPECT_TRUE(Schema(R"({"type": "string", "enum": ["a", 1]})").has("\"a\""));
  EXPECT_FALSE(Schema(R"({"type": "string", "enum": ["a", 1]})").has("1"));
  EXPECT_TRUE(Schema(R"({"const": "x"})").has("\"x\""));
  const Schema maybe(R"({"type": ["string", "null"], "maxLength": 1})");
  EXPECT_TRUE(maybe.has("null"));
  EXPECT_TRUE(maybe.has("\"a\""));
  EXPECT_FALSE(maybe.has("\"ab\""));
}

TEST(SchemaGrammar, ReferencesMayRecur) {
  const Schema tree(R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties":
      {"v": {"type": "integer"}, "c": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
      "required": ["v", "c"]}}})");
  EXPECT_TRUE(
      tree.has(R"({"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]})"));
  EXPECT_FALSE(tree.has(R"({"v": 1, "c": [{"v": 2}]})"));
  // References to nothing but themselves have no text, and do not hang.
  EXPECT_FALSE(Schema(R"({"$ref": "#"})").begins("{"));
  EXPECT_FALSE(Schema(R"({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]})").begins("1"));
}

TEST(SchemaGrammar, OneOfNeedsSomethingThatTellsItsSchemasApart) {
  const Schema some(R"({"oneOf": [
      {"type": "object", "properties": {"k": {"const": "a"}, "x": {"type": "integer"}}, "required": ["k", "x"]},
      {"type": "object", "properties": {"k": {"const": "b"}}, "required": ["k"]}, {"type": "null"}]})");
  EXPECT_TRUE(some.has(R"({"k": "a", "x": 1})"));
  EXPECT_TRUE(some.has(R"({"k": "b"})"));
  EXPECT_TRUE(some.has("null"));
  EXPECT_FALSE(some.has(R"({"k": "b", "x": 1})"));
  EXPECT_NE(refusal(R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})")
                .find("oneOf[0] and oneOf[1]"),
            std::string::npos);
}

TEST(SchemaGrammar, HostileSchemasEndSoon) {
  std::string wide = R"({"anyOf": [)", deep = "true", refs = R"({"$ref": "#/$defs/0", "$defs": {)";
  for (int i = 0; i < 64; ++i) wide += fmt::format(R"({}{{"$ref": "#"}})", i ? ", " : "");
  for (int i = 0; i < 60; ++i) deep = R"({"anyOf": [{"items": )" + deep + R"(}, {"items": true}]})";
  for (int i = 0; i < 500; ++i)
    refs += fmt::format(R"("{}": {{"$ref": "#/$defs/{}"}}, )", i, i + 1);
  EXPECT_FALSE(Schema(wide + "]}").begins("1"));
  EXPECT_TRUE(Schema(deep).begins(std::string(150, '[')));
  EXPECT_TRUE(Schema(refs + R"("500": {"type": "integer"}}})").has("5"));
  EXPECT_NE(refusal(R"({"properties": {")" + std::string(100000, 'a') + R"(": true}})"), "");
  const std::string huge = R"({"type": "array", "minItems": 2000000, "items": true})";
  EXPECT_NE(refusal(huge), "");
  std::string many = R"({"enum": [)";
  for (int i = 0; i < 9000; ++i) many += fmt::format(R"({}"a{}")", i ? ", " : "", i);
  const Schema choice(many + "]}");
  EXPECT_TRUE(choice.has("\"a8999\""));
  EXPECT_FALSE(choice.has("\"a9000\""));
}

// What pydantic and zod write.
TEST(SchemaGrammar, StringsNumbersAndMapsOfOtherForms) {
  const Schema code(R"({"type": "string", "pattern": "^[A-Z]+$", "maxLength": 3})");
  EXPECT_TRUE(code.has("\"ABC\""));
  EXPECT_FALSE(code.has("\"ABCD\""));
  EXPECT_FALSE(code.has("\"abc\""));
  EXPECT_TRUE(Schema(R"({"format": "date"})").has("\"2024-02-29\""));
  EXPECT_TRUE(Schema(R"({"type": "string", "format": "password"})").has("\"any\""));
  const Schema noted(R"({"type": "string", "format": "email", "pattern": "^a$"})");
  EXPECT_TRUE(noted.has("\"a\""));
  const Schema share(R"({"type": "number", "minimum": 0, "exclusiveMaximum": 1})");
  EXPECT_TRUE(share.has("0.25"));
  EXPECT_FALSE(share.has("1"));
  EXPECT_FALSE(share.has("1.5"));
  const Schema record(R"({"type": "object", "propertyNames": {"pattern": "^k\\d$"},
                          "additionalProperties": {"type": "integer"}})");
  EXPECT_TRUE(record.has(R"({"k1": 5, "k2": 6})"));
  EXPECT_TRUE(record.has("{}"));
  EXPECT_FALSE(record.has(R"({"x": 5})"));
  const Schema by_pattern(R"({"patternProperties": {"^a": {"type": "null"}}})");
  EXPECT_TRUE(by_pattern.has(R"({"ab": null})"));
  EXPECT_FALSE(by_pattern.has(R"({"ab": 1})"));
  const Schema choice(R"({"propertyNames": {"enum": ["x", "y"]}, "additionalProperties": true})");
  EXPECT_TRUE(choice.has(R"({"y": []})"));
  EXPECT_FALSE(choice.has(R"({"z": []})"));
}

TEST(SchemaGrammar, RefusalsNameTheKeywordAndItsPlace) {
  const std::string text =
      refusal(R"({"properties": {"a": {"items": {"type": "number", "multipleOf": 2}}}})");
  EXPECT_NE(text.find("$.properties.a"), std::string::npos) << text;
  EXPECT_NE(text.find("multipleOf"), std::string::npos) << text;
  for (const char* schema :
       {R"({"type": "strange"})",
        R"({"type": 5})",
        R"({"enum": []})",
        R"({"anyOf": []})",
        "false",
        "5",
        R"({"properties": 5})",
        R"({"required": "a"})",
        R"({"minLength": -1})",
        R"({"maxItems": 1.5})",
        R"({"$ref": "http://x/y"})",
        R"({"$ref": "#/nothing"})",
        R"({"$ref": 5})",
        R"({"not": {}})",
        R"({"$ref": "#", "type": "object"})",
        R"({"allOf": [{}, {}]})",
        R"x({"pattern": "(?=a)"})x",
        R"({"type": "string", "format": "regex"})",
        R"({"type": "array", "uniqueItems": true})",
        R"({"type": "string", "minLength": 3, "maxLength": 2})",
        R"({"type": []})",
        R"({"type": "array", "minItems": 2, "maxItems": 1})",
        R"({"enum": [1], "minimum": 2})",
        R"({"type": "array", "items": {"type": "string", "maxLength": 2000000000}})"}) {
    EXPECT_NE(refusal(schema), "") << schema;
  }
}

}  // namespace
}  // namespace dinfer
