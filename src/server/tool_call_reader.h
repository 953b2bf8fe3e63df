#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/tool_calls.h"

namespace dinfer {

// A call, or a piece of one: the first has its id and name, those behind it more of the arguments.
struct ToolCall {
  size_t index = 0;  // of the call in its answer
  std::string id, name;
  std::string arguments;  // JSON text
};

// Tells calls and text apart, as an answer comes. A call begins once its name is known; an answer
// that ends before has it as text.
class ToolCallReader {
 public:
  // `functions`: those that may be called; they tell which arguments are texts, where the format
  // does not.
  ToolCallReader(const ToolFormat& format,
                 std::shared_ptr<const std::vector<ToolFunction>> functions);

  struct Piece {
    std::string text;
    std::vector<ToolCall> calls;
  };
  Piece push(std::string_view text);
  // The answer has ended: what is still held back.
  Piece finish();

 private:
  enum class Place : uint8_t { start, text, name, arguments, behind, done };

  bool step(Piece& piece);
  bool read_start(Piece& piece);
  bool read_text(Piece& piece);
  bool read_name(Piece& piece);
  bool read_arguments(Piece& piece);
  bool read_parameter(Piece& piece);
  std::string json_of(const std::string& parameter, const std::string& value) const;
  bool read_behind(Piece& piece);
  bool give_up(Piece& piece);

  const ToolFormat& format_;
  std::shared_ptr<const std::vector<ToolFunction>> functions_;
  const std::string head_;  // up to the first call's name
  const std::string next_;  // from a call's arguments to the name of another
  const std::string last_;  // from the last call's arguments to the end
  Place place_;
  std::string held_;
  size_t calls_ = 0;
  // Of the arguments, as far as they were read.
  int depth_ = 0;
  bool in_string_ = false, escaped_ = false;
  std::string function_;   // whose they are
  size_t parameters_ = 0;  // of a format that writes them one by one
};

}  // namespace dinfer
