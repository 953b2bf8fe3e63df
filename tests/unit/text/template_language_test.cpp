// The template language against what jinja2 makes of the same templates
// (tests/support/template_cases.json, written by tests/golden/peer_templates.py --record).
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/json.h"
#include "text/chat_template.h"

namespace dinfer {
namespace {

constexpr int64_t kNow = 1735787045;  // as in peer_templates.py

TEST(TemplateLanguage, AgreesWithJinja2) {
  std::ifstream file(DINFER_SOURCE_DIR "/tests/support/template_cases.json");
  std::stringstream bytes;
  bytes << file.rdbuf();
  const OrderedJson cases = parse_ordered_json(bytes.str(), "cases", ExitCode::bug);
  ASSERT_GT(cases.size(), 700u);
  setenv("TZ", "UTC", 1);
  tzset();
  for (const OrderedJson& item : cases) {
    const auto source = item.at("template").get<std::string>();
    SCOPED_TRACE(source);
    ChatTemplate::Input input;
    input.messages = OrderedJson::array();
    input.add_generation_prompt = false;
    input.kwargs = item.at("kwargs");
    input.now = kNow;
    if (item.contains("text")) {
      EXPECT_EQ(ChatTemplate(source).render(input).text, item.at("text").get<std::string>());
    } else {
      EXPECT_THROW(ChatTemplate(source).render(input), Error) << item.at("error");
    }
  }
}

std::string error_of(std::string_view source) {
  try {
    ChatTemplate(source).render({});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(TemplateLanguage, NamesTheLineOfAnError) {
  EXPECT_EQ(error_of("a\n{% if %}"),
            "chat template, line 2: expected an expression, got the end of the tag");
  EXPECT_EQ(error_of("a\n\n{{ b.c }}"), "chat template, line 3: 'b' is undefined");
  EXPECT_EQ(error_of("\n{{ raise_exception('No, no') }}"), "chat template, line 2: No, no");
}

TEST(TemplateLanguage, SyntaxErrorsAreThoseOfTheModelOthersThoseOfTheRequest) {
  const auto code = [](std::string_view source) {
    try {
      ChatTemplate(source).render({});
    } catch (const Error& error) {
      return error.code();
    }
    return ExitCode::ok;
  };
  EXPECT_EQ(code("{% for %}"), ExitCode::model_files);
  EXPECT_EQ(code("{{ 1 + 'a' }}"), ExitCode::usage);
}

TEST(TemplateLanguage, IntegersDoNotWrap) {
  EXPECT_EQ(error_of("{{ 9223372036854775807 + 1 }}"), "chat template, line 1: integer overflow");
  EXPECT_EQ(error_of("{{ 2 ** 63 }}"), "chat template, line 1: integer overflow");
  EXPECT_EQ(error_of("{{ 9223372036854775808 }}"), "chat template, line 1: integer overflow");
  EXPECT_EQ(error_of("{{ -9223372036854775807 - 2 }}"), "chat template, line 1: integer overflow");
  EXPECT_EQ(error_of("{{ (-9223372036854775807 - 1) // -1 }}"),
            "chat template, line 1: integer overflow");
  EXPECT_EQ(error_of("{{ (-9223372036854775807 - 1)|abs }}"),
            "chat template, line 1: integer overflow");
}

TEST(TemplateLanguage, KeepsLargeIntegersOfTheDataAsTheyAre) {
  ChatTemplate::Input input;
  input.kwargs = {{"n", 18446744073709551615u}};
  EXPECT_EQ(ChatTemplate("{{ n }} {{ {'n': n}|tojson }} {{ n is integer }} {{ n > 1 }}")
                .render(input)
                .text,
            "18446744073709551615 {\"n\": 18446744073709551615} True True");
}

TEST(TemplateLanguage, HasNoFilesToInclude) {
  for (const char* source : {"{% include 'a' %}", "{% import 'a' as b %}", "{% extends 'a' %}",
                             "{% from 'a' import b %}"}) {
    EXPECT_NE(error_of(source).find("is not supported"), std::string::npos) << source;
  }
}

}  // namespace
}  // namespace dinfer
