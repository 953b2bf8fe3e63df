#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace dinfer {

// How arguments are written that are not one JSON object, each of them:
//
//   open NAME middle VALUE close behind
//
// Texts stand there as they are, other values as JSON.
struct ParameterForm {
  std::string_view open, middle;
  std::string_view close;  // without blanks; a text does not contain it
  std::string_view behind;
};

// How a model writes that it calls functions:
//
//   mark begin  before NAME middle ARGUMENTS after  [between  before NAME ...]  end
//
// A space in these texts stands for the blanks that JSON may have between its parts; all else is as
// it stands there.
struct ToolFormat {
  std::string_view mark;  // behind any text; empty: an answer is all call or all text
  std::string_view begin;
  std::string_view before, middle, after;
  std::string_view between;
  std::string_view end;
  bool repeats = true;         // several calls may follow each other
  ParameterForm parameters{};  // without `open`: the arguments are a JSON object
  bool by_parameter() const { return !parameters.open.empty(); }
};

// <tool_call>{"name": ..., "arguments": {...}}</tool_call>: Hermes, Qwen and their kin. Models
// whose template knows no tools are told to write this.
const ToolFormat& tagged_format();

// What a chat template says of tools.
struct TemplateTools {
  const ToolFormat* format = nullptr;
  bool shows_tools = false;   // it tells the model of them
  bool known_format = false;  // and the model writes calls in `format` by itself
};
TemplateTools tools_of_template(std::string_view source);

// The special tokens of a vocabulary with which such calls are written.
std::vector<int32_t> special_tokens_of(const ToolFormat& format, const Tokenizer& tokenizer);

}  // namespace dinfer
