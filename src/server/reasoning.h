#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dinfer {

// Tells what a model thinks from what it answers: the text between <think> and </think> with which
// an answer may begin, as it comes.
class ReasoningReader {
 public:
  // `thinking`: the prompt has written <think> already.
  explicit ReasoningReader(bool thinking) : place_(thinking ? Place::inside : Place::start) {}

  struct Piece {
    std::string reasoning, text;
  };
  Piece push(std::string_view text);
  // The answer has ended: what is still held back.
  Piece finish();

 private:
  enum class Place : uint8_t { start, inside, behind, outside };

  bool read_start();
  bool read_inside(Piece& piece);
  bool skip_blanks();

  Place place_;
  std::string held_;
};

// Whether answers to a prompt of such a template may begin with thoughts.
bool shows_reasoning(std::string_view chat_template);

// Whether the prompt ends where the thoughts have begun.
bool opens_reasoning(std::string_view prompt);

}  // namespace dinfer
