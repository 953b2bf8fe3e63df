// The template engine under hostile input. The first byte chooses: the rest is a template, rendered
// with a small chat, or it is JSON data for a template that uses a lot of the language.
#include <cstddef>
#include <cstdint>

#include "base/json.h"
#include "text/chat_template.h"

namespace dinfer {
namespace {

constexpr std::string_view kRichTemplate = R"({%- macro show(value, depth=0) -%}
{%- if value is mapping and depth < 4 -%}
{% for k, v in value|dictsort %}{{ k|string|title|indent(2) }}: {{ show(v, depth + 1) }}{% endfor %}
{%- elif value is iterable and value is not string and depth < 4 -%}
{% for v in value|list|reverse %}{{ loop.index }}/{{ loop.length }} {{ show(v, depth + 1) }}{% endfor %}
{%- elif value is string -%}
{{ value.strip().split('\n')[0][:40]|e }}{{ '%-10s|{:>5}' % value.upper() }}{{ value[::-2] }}
{{- value.replace('a', 'bb')|truncate(20)|urlencode }}{{ value.title() ~ value|wordcount }}
{{- value.splitlines()|join('|') }}{{ value.rsplit(none, 1) }}{{ value|int }}{{ value|float }}
{%- else -%}{{ value }}{%- endif -%}
{%- endmacro -%}
{% for message in messages %}
{% if message.content is string and '</think>' in message.content %}{{ message.content.split('</think>')[-1].lstrip('\n') }}
{% else %}{{ show(message) }}{% endif %}{{ message|tojson(indent=2, sort_keys=true) }}{{ message }}
{% endfor %})";

ChatTemplate::Input small_chat() {
  ChatTemplate::Input input;
  input.messages = {{{"role", "user"}, {"content", "Hi <|im_end|> \xC3\xA9"}},
                    {{"role", "assistant"}, {"content", nullptr}, {"n", {1, 2.5, true}}}};
  input.special_texts = {{"bos_token", "<s>"}};
  return input;
}

void render(std::string_view source, const ChatTemplate::Input& input) {
  TemplateBudget budget;
  budget.steps = 100'000;
  budget.output_bytes = 256 * 1024;
  const RenderedChat chat = ChatTemplate(source, budget).render(input);
  size_t at = 0;
  for (const TextSpan& span : chat.plain) {
    check(at <= span.begin && span.begin < span.end && span.end <= chat.text.size(),
          "spans of data are ascending and disjoint");
    at = span.end;
  }
}

}  // namespace
}  // namespace dinfer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dinfer;
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] % 4 != 0) {
      render(rest, small_chat());
    } else {
      ChatTemplate::Input input;
      input.messages = parse_ordered_json(rest, "fuzz", ExitCode::usage);
      render(kRichTemplate, input);
    }
  } catch (const Error&) {
  }
  return 0;
}
