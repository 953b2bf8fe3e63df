#include "server/tool_format.h"

#include <algorithm>
#include <array>

namespace dinfer {

namespace {

constexpr std::string_view kNameKey = R"( {"name": ")", kArgumentsKey = R"(", "arguments": )";

constexpr ToolFormat kTagged{.mark = "<tool_call>",
                             .before = kNameKey,
                             .middle = kArgumentsKey,
                             .after = " } </tool_call>",
                             .between = " <tool_call>"};

// Llama 3: the whole answer is {"name": ..., "parameters": {...}}.
constexpr ToolFormat kBare{
    .before = R"({"name": ")", .middle = R"(", "parameters": )", .after = " }", .repeats = false};

// A list of {"name": ..., "arguments": {...}} between two marks.
constexpr ToolFormat json_list(std::string_view mark, std::string_view end) {
  return {.mark = mark,
          .begin = " [",
          .before = kNameKey,
          .middle = kArgumentsKey,
          .after = " }",
          .between = ",",
          .end = end};
}

// Mistral until 2024: [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...].
constexpr ToolFormat kMistralList = json_list("[TOOL_CALLS]", " ]");

// Mistral since: [TOOL_CALLS]NAME[ARGS]{...}.
constexpr ToolFormat kMistralNamed{
    .mark = "[TOOL_CALLS]", .middle = "[ARGS]", .between = "[TOOL_CALLS]"};

// Phi 4 mini: <|tool_call|>[{"name": ..., "arguments": {...}}]<|/tool_call|>.
constexpr ToolFormat kPhi = json_list("<|tool_call|>", " ]<|/tool_call|>");

// Granite 3: the same, with nothing behind the list.
constexpr ToolFormat kGranite = json_list("<|tool_call|>", " ]");

// DeepSeek V3 and R1: the arguments stand in a fenced block.
constexpr ToolFormat kDeepSeekFenced{.mark = "<｜tool▁calls▁begin｜>",
                                     .before = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                                     .middle = "\n```json\n",
                                     .after = "\n```<｜tool▁call▁end｜>",
                                     .between = "\n",
                                     .end = "<｜tool▁calls▁end｜>"};

// DeepSeek since V3.1.
constexpr ToolFormat kDeepSeek{.mark = "<｜tool▁calls▁begin｜>",
                               .before = "<｜tool▁call▁begin｜>",
                               .middle = "<｜tool▁sep｜>",
                               .after = "<｜tool▁call▁end｜>",
                               .end = "<｜tool▁calls▁end｜>"};

// Qwen 3 Coder and 3.5, Nemotron 3.
constexpr ToolFormat kFunctionTags{
    .mark = "<tool_call>",
    .before = " <function=",
    .middle = ">\n",
    .after = "</function> </tool_call>",
    .between = " <tool_call>",
    .parameters = {
        .open = "<parameter=", .middle = ">\n", .close = "\n</parameter>", .behind = "\n"}};

// GLM since 4.5.
constexpr ToolFormat kKeysAndValues{
    .mark = "<tool_call>",
    .after = " </tool_call>",
    .between = " <tool_call>",
    .parameters = {
        .open = " <arg_key>", .middle = "</arg_key> <arg_value>", .close = "</arg_value>"}};

// MiniMax M2.
constexpr ToolFormat kInvoke{
    .mark = "<minimax:tool_call>",
    .before = R"( <invoke name=")",
    .middle = R"(">)",
    .after = " </invoke>",
    .end = " </minimax:tool_call>",
    .parameters = {.open = R"( <parameter name=")", .middle = R"(">)", .close = "</parameter>"}};

// Seed OSS.
constexpr ToolFormat kSeed{
    .mark = "<seed:tool_call>",
    .before = " <function=",
    .middle = ">",
    .after = " </function> </seed:tool_call>",
    .between = " <seed:tool_call>",
    .parameters = {.open = " <parameter=", .middle = ">", .close = "</parameter>"}};

// Nemotron Nano 2: <TOOLCALL>[{"name": ..., "arguments": {...}}]</TOOLCALL>.
constexpr ToolFormat kNemotron = json_list("<TOOLCALL>", " ]</TOOLCALL>");

// A template that has all of `signs` writes calls so. The first row that fits counts.
struct Sign {
  std::array<std::string_view, 2> signs;
  const ToolFormat* format;
};
constexpr std::array<Sign, 13> kSigns{{
    {{"<function=", "<tool_call>"}, &kFunctionTags},
    {{"<function=", "<seed:tool_call>"}, &kSeed},
    {{"<arg_key>", "<tool_call>"}, &kKeysAndValues},
    {{"<minimax:tool_call>", "<invoke name="}, &kInvoke},
    {{"<TOOLCALL>", ""}, &kNemotron},
    {{"<tool_call>", ""}, &kTagged},
    {{"\"parameters\": dictionary", ""}, &kBare},
    {{"[TOOL_CALLS]", "[ARGS]"}, &kMistralNamed},
    {{"[TOOL_CALLS]", ""}, &kMistralList},
    {{"<|tool_call|>", "<|/tool_call|>"}, &kPhi},
    {{"<|tool_call|>", ""}, &kGranite},
    {{"<｜tool▁calls▁begin｜>", "```json"}, &kDeepSeekFenced},
    {{"<｜tool▁calls▁begin｜>", ""}, &kDeepSeek},
}};

}  // namespace

const ToolFormat& tagged_format() { return kTagged; }

TemplateTools tools_of_template(std::string_view source) {
  const auto has = [&](std::string_view text) {
    return source.find(text) != std::string_view::npos;
  };
  if (!has("tools")) return {.format = &kTagged};
  for (const Sign& sign : kSigns) {
    if (std::ranges::all_of(sign.signs, has))
      return {.format = sign.format, .shows_tools = true, .known_format = true};
  }
  return {.format = &kTagged, .shows_tools = true};
}

std::vector<int32_t> special_tokens_of(const ToolFormat& format, const Tokenizer& tokenizer) {
  std::vector<int32_t> found;
  const ParameterForm& parameters = format.parameters;
  for (const std::string_view text :
       {format.mark, format.begin, format.before, format.middle, format.after, format.between,
        format.end, parameters.open, parameters.middle, parameters.close, parameters.behind}) {
    for (const int32_t id : tokenizer.encode(text, {.add_special = false, .parse_special = true})) {
      if (tokenizer.decode({&id, 1}, true).empty() && !tokenizer.decode({&id, 1}, false).empty())
        found.push_back(id);
    }
  }
  return found;
}

}  // namespace dinfer
