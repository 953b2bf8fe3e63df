#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "grammar/grammar.h"

namespace dinfer {

// How a model writes that it calls a function.
enum class ToolFormat : uint8_t {
  tagged,  // <tool_call>{"name": ..., "arguments": {...}}</tool_call>, several of them, behind text
  bare,    // the whole answer is {"name": ..., "parameters": {...}}
};

// What a chat template says of tools.
struct TemplateTools {
  ToolFormat format = ToolFormat::tagged;
  bool shows_tools = false;   // it tells the model of them
  bool known_format = false;  // and the model writes calls in `format` by itself
};
TemplateTools tools_of_template(std::string_view source);

struct ToolFunction {
  std::string name;
  OrderedJson parameters;  // JSON Schema of the arguments
};

// What an answer may be: text or calls, or calls only.
struct ToolRule {
  ToolFormat format = ToolFormat::tagged;
  bool must_call = false;
  bool several = true;  // calls in one answer
};

// The texts that such a model may write, as the start of `grammar`. Error(usage) for a schema that
// is not available: it begins with the function's name.
void build_tool_grammar(const ToolRule& rule, const std::vector<ToolFunction>& functions,
                        Grammar& grammar);

struct ToolCall {
  std::string id, name, arguments;  // JSON text
};

// Tells calls and text apart, as an answer comes.
class ToolCallReader {
 public:
  explicit ToolCallReader(ToolFormat format) : format_(format) {}

  struct Piece {
    std::string text;
    std::vector<ToolCall> calls;
  };
  Piece push(std::string_view text);
  // The answer has ended: what is still held back. A call that is not complete is text.
  Piece finish();

 private:
  bool read_outside(Piece& piece);
  bool read_inside(Piece& piece);

  ToolFormat format_;
  std::string held_;
  size_t searched_ = 0;  // bytes of held_ in which the next mark does not begin
  bool inside_ = false, called_ = false;
};

// For templates that do not know tools: what tells the model of them, and its calls and their
// results as plain messages.
std::string describe_tools(const OrderedJson& tools);
void write_calls_as_text(OrderedJson& messages);

}  // namespace dinfer
