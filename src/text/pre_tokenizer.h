#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"
#include "text/pieces.h"

namespace dinfer {

// A step that cuts a text into the pieces inside which a model merges.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
};

using PreTokenizers = std::vector<std::unique_ptr<PreTokenizer>>;

// GPT-2's pattern: contractions, letters, numbers, other characters, white space.
extern const std::string_view kGpt2Pattern;

enum class PrependScheme { never, first, always };  // "first": only at the start of the input

std::unique_ptr<PreTokenizer> make_pattern_split(Pattern pattern, SplitBehavior behavior,
                                                 bool invert);
// Cuts at each character that `belongs`.
std::unique_ptr<PreTokenizer> make_character_split(bool (*belongs)(uint32_t),
                                                   SplitBehavior behavior);
// Writes the pieces in GPT-2's alphabet (byte_alphabet.h).
std::unique_ptr<PreTokenizer> make_byte_letters();
// Puts a space before every piece that does not begin with one.
std::unique_ptr<PreTokenizer> make_prefix_space();
// Writes spaces as `replacement` (one character), puts one in front as the scheme says and, with
// `cut`, begins a new piece at each.
std::unique_ptr<PreTokenizer> make_metaspace(std::string replacement, PrependScheme scheme,
                                             bool cut);

bool is_number(uint32_t code);       // general category N
bool is_punctuation(uint32_t code);  // general category P, or punctuation and symbols of ASCII

}  // namespace dinfer
