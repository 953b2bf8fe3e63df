#pragma once

#include <string>
#include <vector>

#include "server/generation.h"
#include "server/tool_calls.h"

namespace dinfer {

// The fields tools, tool_choice and parallel_tool_calls of a chat request.
struct ToolRequest {
  OrderedJson tools;                    // as the template gets them; null: none
  std::vector<ToolFunction> functions;  // that may be called
  ToolRule rule;
  bool shown_by_template = false;

  bool active() const { return !tools.is_null(); }
};

// ApiError(400) naming the field at fault.
ToolRequest read_tools(ApiFields& fields, const ServedModel& model);

// `message` of a conversation: arguments of its tool calls become objects, as templates want them.
void read_tool_calls(OrderedJson& message, const std::string& path);

// The tools' grammar, or that of response_format, into `generation`.
void constrain(ApiFields& fields, const ServedModel& model, const ToolRequest& tools,
               Generation& generation);

}  // namespace dinfer
