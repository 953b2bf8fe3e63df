#include "server/tool_call_reader.h"

#include <algorithm>
#include <utility>

#include "server/access.h"
#include "server/answer_format.h"
#include "text/text_marks.h"

namespace dinfer {

namespace {

constexpr std::string_view kBlanks = " \n\r\t";

bool is_blank(char c) { return kBlanks.find(c) != std::string_view::npos; }

// How a text begins by a pattern, in which a space stands for any blanks.
enum class Match : uint8_t { no, partly, whole };

// `length`: bytes of the text that the pattern took.
Match match(std::string_view text, std::string_view pattern, size_t& length) {
  length = 0;
  for (const char wanted : pattern) {
    if (wanted == ' ') {
      while (length < text.size() && is_blank(text[length])) ++length;
      continue;
    }
    if (length == text.size()) return Match::partly;
    if (text[length] != wanted) return Match::no;
    ++length;
  }
  return Match::whole;
}

bool is_name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.';
}

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string all;
  for (const std::string_view part : parts) all += part;
  return all;
}

}  // namespace

ToolCallReader::ToolCallReader(const ToolFormat& format,
                               std::shared_ptr<const std::vector<ToolFunction>> functions)
    : format_(format),
      functions_(std::move(functions)),
      head_(joined({format.mark, format.begin, format.before})),
      next_(joined({format.after, format.between, format.before})),
      last_(joined({format.after, format.end})),
      place_(format.mark.empty() ? Place::start : Place::text) {}

ToolCallReader::Piece ToolCallReader::push(std::string_view text) {
  Piece piece;
  held_ += text;
  while (!held_.empty() && step(piece)) {
  }
  return piece;
}

// False: more has to come first.
bool ToolCallReader::step(Piece& piece) {
  switch (place_) {
    case Place::start:
      return read_start(piece);
    case Place::text:
      return read_text(piece);
    case Place::name:
      return read_name(piece);
    case Place::arguments:
      return format_.by_parameter() ? read_parameter(piece) : read_arguments(piece);
    case Place::behind:
      return read_behind(piece);
    case Place::done:
      piece.text += std::exchange(held_, "");
      return false;
  }
  return false;
}

// An answer that is all call begins as one.
bool ToolCallReader::read_start(Piece&) {
  size_t length = 0;
  place_ = match(held_, head_, length) == Match::no ? Place::done : Place::name;
  return true;
}

bool ToolCallReader::read_text(Piece& piece) {
  const size_t at = held_.find(format_.mark);
  const size_t keep = at == std::string::npos ? overlap(held_, format_.mark) : held_.size() - at;
  piece.text += held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  if (at == std::string::npos) return false;
  place_ = Place::name;
  return true;
}

// held_ begins with the head of a call, of the first or of another.
bool ToolCallReader::read_name(Piece& piece) {
  size_t begin = 0, middle = 0;
  const Match head = match(held_, calls_ == 0 ? head_ : next_, begin);
  if (head != Match::whole) return head == Match::no && give_up(piece);
  const auto rest = std::string_view(held_).substr(begin);
  const auto name_end = std::ranges::find_if_not(rest, is_name_byte);
  const auto name = rest.substr(0, static_cast<size_t>(name_end - rest.begin()));
  if (name.size() == rest.size()) return false;
  const Match behind = match(rest.substr(name.size()), format_.middle, middle);
  if (behind != Match::whole) return behind == Match::no && give_up(piece);
  piece.calls.push_back(
      {.index = calls_++, .id = "call_" + random_hex(24), .name = std::string(name)});
  function_ = name;
  parameters_ = 0;
  held_.erase(0, begin + name.size() + middle);
  place_ = Place::arguments;
  return true;
}

// What is written is an object: it ends with the brace that closes its first.
bool ToolCallReader::read_arguments(Piece& piece) {
  size_t used = 0;
  if (depth_ == 0) held_.erase(0, std::min(held_.find_first_not_of(kBlanks), held_.size()));
  while (used < held_.size() && place_ == Place::arguments) {
    const char c = held_[used++];
    if (in_string_) {
      in_string_ = c != '"' || escaped_;
      escaped_ = c == '\\' && !escaped_;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      if (--depth_ <= 0) place_ = Place::behind;
    }
  }
  if (used > 0) piece.calls.push_back({.index = calls_ - 1, .arguments = held_.substr(0, used)});
  held_.erase(0, used);
  return place_ == Place::behind;
}

// The next parameter, once it is whole, or the end of all.
bool ToolCallReader::read_parameter(Piece& piece) {
  const ParameterForm& form = format_.parameters;
  size_t open = 0, middle = 0, behind = 0;
  const Match opened = match(held_, form.open, open);
  if (opened == Match::partly) return false;
  std::string arguments = parameters_ == 0 ? "{" : "";
  if (opened == Match::no) {
    place_ = Place::behind;
    arguments += "}";
  } else {
    const size_t name_end = held_.find(form.middle[0], open);
    if (name_end == std::string::npos) return false;
    if (match(std::string_view(held_).substr(name_end), form.middle, middle) != Match::whole)
      return false;
    const size_t begin = name_end + middle;
    const size_t end = held_.find(form.close, begin);
    if (end == std::string::npos) return false;
    const std::string_view rest = std::string_view(held_).substr(end + form.close.size());
    if (match(rest, form.behind, behind) != Match::whole) return false;
    const std::string name = held_.substr(open, name_end - open);
    arguments += (parameters_++ > 0 ? ", " : "") + dump(OrderedJson(name)) + ": " +
                 json_of(name, held_.substr(begin, end - begin));
    held_.erase(0, end + form.close.size() + behind);
  }
  piece.calls.push_back({.index = calls_ - 1, .arguments = std::move(arguments)});
  return true;
}

// A text as a JSON string, other values as they were written.
std::string ToolCallReader::json_of(const std::string& parameter, const std::string& value) const {
  const auto is_called = [&](const ToolFunction& f) { return f.name == function_; };
  const auto function = std::ranges::find_if(*functions_, is_called);
  if (function != functions_->end()) {
    const OrderedJson properties = function->parameters.value("properties", OrderedJson::object());
    const auto schema = properties.find(parameter);
    if (schema != properties.end() && is_text(*schema)) return dump(OrderedJson(value));
  }
  return OrderedJson::accept(value) ? value : dump(OrderedJson(value));
}

bool ToolCallReader::read_behind(Piece& piece) {
  size_t length = 0;
  const Match next = format_.repeats ? match(held_, next_, length) : Match::no;
  if (next == Match::whole) {
    place_ = Place::name;
    return true;
  }
  const Match last = match(held_, last_, length);
  if (last == Match::no && next == Match::no) return give_up(piece);
  // What could still go on as another call waits for its end.
  if (last != Match::whole || next == Match::partly) return false;
  held_.erase(0, length);
  place_ = Place::done;
  return true;
}

// Not as the format has it: text.
bool ToolCallReader::give_up(Piece& piece) {
  piece.text += std::exchange(held_, "");
  place_ = Place::done;
  return false;
}

ToolCallReader::Piece ToolCallReader::finish() {
  Piece piece;
  const bool in_call = place_ == Place::arguments || place_ == Place::behind ||
                       (place_ == Place::name && calls_ > 0);
  if (!in_call) piece.text = held_;  // otherwise the rest of a call, or one that was cut
  held_.clear();
  return piece;
}

}  // namespace dinfer
