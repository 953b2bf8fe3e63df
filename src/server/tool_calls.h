#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "grammar/grammar.h"
#include "server/tool_format.h"

namespace dinfer {

struct ToolFunction {
  std::string name;
  OrderedJson parameters;  // JSON Schema of the arguments
};

// Whether a parameter is a text, which such formats write as it is: strings, and what has no type.
bool is_text(const OrderedJson& schema);

// What an answer may be: text or calls, or calls only.
struct ToolRule {
  const ToolFormat* format = &tagged_format();
  bool must_call = false;
  bool several = true;  // calls in one answer
};

// The texts that such a model may write, as the start of `grammar`. Error(usage) for a schema that
// is not available: it begins with the function's name.
void build_tool_grammar(const ToolRule& rule, const std::vector<ToolFunction>& functions,
                        Grammar& grammar);

// For templates that do not know tools: what tells the model of them, and its calls and their
// results as plain messages.
std::string describe_tools(const OrderedJson& tools);
void write_calls_as_text(OrderedJson& messages);

}  // namespace dinfer
