// Hostile templates end soon, with an error, and in bounded memory.
#include <gtest/gtest.h>

#include <ctime>

#include "text/chat_template.h"

namespace dinfer {
namespace {

std::string repeated(std::string_view text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

std::string error_of(std::string_view source) {
  ChatTemplate::Input input;
  input.kwargs = {{"data", std::string(1 << 20, 'a')}};
  try {
    ChatTemplate(source).render(input);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(TemplateBudget, EndsTemplatesThatGrowWithoutBounds) {
  const std::pair<const char*, std::string> cases[] = {
      {"steps", "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"},
      {"grows beyond", "{{ 'a' * 999999999 }}"},
      {"grows beyond", "{{ 'a'.center(999999999) }}"},
      {"grows beyond", "{{ '%999999d' % 1 ~ '%99999999d' % 1 }}"},
      {"grows beyond", "{{ '{:>99999999}'.format(1) }}"},
      {"grows beyond", "{{ data.replace('a', data) }}"},
      {"grows beyond", "{{ data|list|join(data) }}"},
      {"grows beyond", "{{ 'a\n'|indent(99999999, true) }}"},
      {"steps", "{{ [0] * 99999999 }}"},
      {"steps",
       "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}"
       "{% endfor %}"},
      {"grows beyond",
       "{% set ns = namespace(l='a') %}{% for i in range(99) %}"
       "{% set ns.l = ns.l ~ ns.l %}{% endfor %}"},
      {"",
       "{% set ns = namespace(l='a') %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}"
       "{% endfor %}{{ ns.l }}"},
      {"steps",
       "{% set ns = namespace(l='a', m='a') %}{% for i in range(60) %}"
       "{% set ns.l, ns.m = [ns.l, ns.l], [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}"},
      {"nested too deeply",
       "{% set ns = namespace(l='a') %}{% for i in range(9999) %}"
       "{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}"},
      {"nested too deeply", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"},
      {"nested too deeply", "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"},
      {"Range too big", "{{ range(99999999) }}"},
      {"steps", "{% for i in range(9999) %}{% set x = data|upper %}{% endfor %}"},
      {"steps", "{% for i in range(9999) %}{% set x = data ~ i %}{% endfor %}"},
      {"steps", "{% for i in range(99999) %}{% if 'aab' in data %}{% endif %}{% endfor %}"},
      {"steps",
       "{% set b = data ~ '' %}{% for i in range(99999) %}{% if b == data %}{% endif %}"
       "{% endfor %}"},
      {"steps", "{% for c in data %}{{ data[loop.index] }}{% endfor %}"},
      {"steps", "{{ [1]|batch(999999999, 0)|list }}"},
      {"steps", "{{ [1]|slice(999999999)|list }}"},
      {"strftime_now makes too long a text", "{{ strftime_now('%999999999d') }}"},
  };
  for (const auto& [expected, source] : cases) {
    SCOPED_TRACE(source);
    const std::clock_t start = std::clock();  // of this process: others may be busy
    const std::string error = error_of(source);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    EXPECT_NE(error, "no error");
    EXPECT_NE(error.find(expected), std::string::npos) << error;
    EXPECT_LT(seconds, 10.0);  // a fraction of a second without sanitizers
  }
}

TEST(TemplateBudget, RefusesSourcesThatNestTooDeeply) {
  for (const auto& [open, close] : {std::pair("(", ")"),
                                    {"[", "]"},
                                    {"not ", ""},
                                    {"-", ""},
                                    {"a if b else ", ""},
                                    {"f(", ")"},
                                    {"{1:", "}"}}) {
    const std::string source = "{{ " + repeated(open, 5000) + "1" + repeated(close, 5000) + " }}";
    EXPECT_NE(error_of(source).find("nested too deeply"), std::string::npos) << open;
  }
  EXPECT_NE(error_of("{{ a" + repeated(".a", 5000) + " }}").find("too long a chain"),
            std::string::npos);
  EXPECT_NE(error_of("{{ a" + repeated("|list", 5000) + " }}").find("too long a chain"),
            std::string::npos);
  EXPECT_NE(error_of(repeated("{% if 1 %}", 5000)).find("nested too deeply"), std::string::npos);
  EXPECT_NE(error_of(std::string(300 << 10, 'a')).find("is larger than"), std::string::npos);
}

TEST(TemplateBudget, LongChainsOfOperatorsAreNoNesting) {
  ChatTemplate::Input input;
  EXPECT_EQ(ChatTemplate("{{ 0" + repeated(" + 1", 5000) + " }}").render(input).text, "5000");
  EXPECT_EQ(ChatTemplate("{{ 0" + repeated(" or 0", 5000) + " }}").render(input).text, "0");
  EXPECT_EQ(ChatTemplate("{{ ''" + repeated(" ~ 'a'", 5000) + " }}").render(input).text,
            std::string(5000, 'a'));
}

TEST(TemplateBudget, LeavesRoomForLongChats) {
  ChatTemplate::Input input;
  input.messages = OrderedJson::array();
  for (int i = 0; i < 4000; ++i) {
    input.messages.push_back(
        {{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", std::string(500, 'x')}});
  }
  const RenderedChat chat =
      ChatTemplate(
          "{% for message in messages %}{% if message.role == 'user' and message.content is string "
          "%}{{ '<|user|>' + message.content|trim }}{% else %}{{ '<|assistant|>' ~ "
          "message['content'].strip().split('</think>')[-1] }}{% endif %}{% endfor %}")
          .render(input);
  EXPECT_EQ(chat.text.size(), 4000u * 500 + 2000 * (8 + 13));
}

}  // namespace
}  // namespace dinfer
