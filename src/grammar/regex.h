#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace dinfer {

// A set of characters: code points from, to; ascending, apart.
using CharSet = std::vector<std::pair<uint32_t, uint32_t>>;

// A regular expression as a tree.
struct Regex {
  enum class Kind : uint8_t { set, sequence, choice, repeat };
  Kind kind = Kind::sequence;
  CharSet set;                // one character of it
  std::vector<Regex> parts;   // of a sequence or choice; the one that is repeated
  int fewest = 0, most = -1;  // times; -1: any number
};

// What a text must have somewhere in it; an alternative may be bound to its begin, its end or both.
struct SchemaPattern {
  struct Way {
    Regex regex;
    bool from_begin = false, to_end = false;
  };
  std::vector<Way> ways;
};

// Reads what ECMA-262, Python, Rust and RE2 all understand alike: characters and their escapes,
// `.`, classes, groups, alternatives, counts, and ^ and $ at the ends of the whole. \D, \S and \W
// are ASCII characters only, since these languages differ on the others. Error(usage) naming what
// is not available: looking around, references back, word borders, properties of Unicode.
SchemaPattern parse_pattern(std::string_view text);

constexpr uint32_t kLastCharacter = 0x10ffff;

// All that are not in the set; surrogates are no characters.
CharSet complement(const CharSet& set);

}  // namespace dinfer
