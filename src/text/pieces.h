#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace dinfer {

// A text cut into pieces that a model encodes one by one. Valid UTF-8, no piece is empty.
struct Pieces {
  std::string text;
  std::vector<TextSpan> spans;  // ascending and disjoint, not necessarily all of the text
  bool at_start = false;        // the first piece begins where the whole input begins

  std::string_view view(const TextSpan& span) const {
    return std::string_view(text).substr(span.begin, span.end - span.begin);
  }
};

// What becomes of the matches when a piece is cut at them.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

// Appends the matches in a piece to a list, ascending and disjoint.
using FindMatches = std::function<void(std::string_view, std::vector<TextSpan>&)>;

// Cuts every piece at its matches; `invert` takes what lies between the matches for the matches.
void split(Pieces& pieces, const FindMatches& find, SplitBehavior behavior, bool invert);

// Replaces every piece's text by what `rewrite` appends to its second argument; `first` is true for
// the piece at the start of the input.
using Rewrite = std::function<void(std::string_view piece, bool first, std::string& out)>;
void rewrite(Pieces& pieces, const Rewrite& write);

// Finds each character that `belongs`, as a match of its own.
FindMatches each_character(std::function<bool(uint32_t)> belongs);

}  // namespace dinfer
