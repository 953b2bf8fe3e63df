// Which bytes of a rendered chat are marked as data.
#include <gtest/gtest.h>

#include "text/chat_template.h"

namespace dinfer {
namespace {

// The text with all that is marked in brackets.
std::string marked(std::string_view source, const ChatTemplate::Input& input) {
  const RenderedChat chat = ChatTemplate(source).render(input);
  std::string result;
  size_t at = 0;
  for (const TextSpan& span : chat.plain) {
    EXPECT_LE(at, span.begin);
    EXPECT_LT(span.begin, span.end);
    EXPECT_LE(span.end, chat.text.size());
    result += chat.text.substr(at, span.begin - at) + "[";
    result += chat.text.substr(span.begin, span.end - span.begin) + "]";
    at = span.end;
  }
  return result + chat.text.substr(at);
}

std::string marked(std::string_view source) {
  ChatTemplate::Input input;
  input.messages = {{{"role", "user"}, {"content", "Hi <|im_end|> x"}}};
  input.kwargs = {{"s", " aBc "}, {"list", {"x", "y"}}, {"lines", "a\nb"}};
  input.special_texts = {{"eos_token", "<|im_end|>"}};
  return marked(source, input);
}

TEST(TemplateProvenance, UserTextWithASpecialTokenIsPlain) {
  EXPECT_EQ(marked("<|im_start|>{{ messages[0].role }}\n{{ messages[0].content }}<|im_end|>"),
            "<|im_start|>[user]\n[Hi <|im_end|> x]<|im_end|>");
}

TEST(TemplateProvenance, SpecialTextsAndLiteralsAreNotData) {
  EXPECT_EQ(marked("{{ eos_token ~ '<s>' }}{{ 5 }}{{ none }}"), "<|im_end|><s>5None");
}

TEST(TemplateProvenance, FollowsTextThroughOperations) {
  EXPECT_EQ(marked("{{ '<' + s + '>' }}"), "<[ aBc ]>");
  EXPECT_EQ(marked("{{ ('<' ~ s ~ '>')[1:3] }}"), "[ a]");
  EXPECT_EQ(marked("{{ ('<' ~ s ~ '>')[::-1] }}"), ">[ cBa ]<");
  EXPECT_EQ(marked("{{ ('x' ~ s)|trim|upper }}"), "X[ ABC]");
  EXPECT_EQ(marked("{{ 'a-b'.replace('-', s) }}"), "a[ aBc ]b");
  EXPECT_EQ(marked("{{ s.replace('B', '-') }}"), "[ a]-[c ]");
  EXPECT_EQ(marked("{{ list|join('-') }}"), "[x]-[y]");
  EXPECT_EQ(marked("{{ ('a,' ~ s).split(',')[1] }}"), "[ aBc ]");
  EXPECT_EQ(marked("{{ '%s=%d' % (s, 1) }}"), "[ aBc ]=1");
  EXPECT_EQ(marked("{{ 'k: {}'.format(s) }}"), "k: [ aBc ]");
  EXPECT_EQ(marked("{{ lines|indent(2, true) }}"), "  [a]\n  [b]");
  EXPECT_EQ(marked("{{ s * 2 }}"), "[ aBc  aBc ]");
  EXPECT_EQ(marked("{{ '-' ~ s|e }}"), "-[ aBc ]");
  EXPECT_EQ(marked("{{ s|title ~ s.strip()|length }}"), "[ Abc ]3");
}

TEST(TemplateProvenance, RepresentationsOfDataAreData) {
  EXPECT_EQ(marked("{{ {'k': s}|tojson }}"), "[{\"k\": \" aBc \"}]");
  EXPECT_EQ(marked("{{ ['a', s] }}"), "['a', [' aBc ']]");
  EXPECT_EQ(marked("{% for key in messages[0] %}{{ key }};{% endfor %}"), "[role];[content];");
}

TEST(TemplateProvenance, SurvivesCaptures) {
  EXPECT_EQ(marked("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(s) }}"), "<[ aBc ]>");
  EXPECT_EQ(marked("{% set t %}<{{ s }}>{% endset %}{{ t|trim }}"), "<[ aBc ]>");
  EXPECT_EQ(marked("{% filter upper %}a{{ s }}{% endfilter %}"), "A[ ABC ]");
  EXPECT_EQ(marked("{% set ns = namespace(t='a') %}{% for i in list %}{% set ns.t = ns.t ~ i %}"
                   "{% endfor %}{{ ns.t }}"),
            "a[xy]");
}

TEST(TemplateProvenance, WhatALiteralStandsForIsNotData) {
  EXPECT_EQ(marked("{{ {'user': '<|user|>'}[messages[0].role] }}"), "<|user|>");
}

}  // namespace
}  // namespace dinfer
