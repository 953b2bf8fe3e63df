#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "grammar/grammar.h"

namespace dinfer {

// Lengths of a text, in characters.
struct TextLength {
  int64_t fewest = 0;
  std::optional<int64_t> most;
};

// JSON strings, quotes included, in whose text `pattern` (see parse_pattern) is found. Characters
// are escaped only where JSON asks for it. Error(usage) for a pattern that is not available or
// needs too large a grammar.
Grammar::Node add_pattern(std::string_view pattern, const TextLength& length, Grammar& grammar,
                          Grammar::Node next);

// The pattern of a `format` of JSON Schema, of all of the text: date, time, date-time, duration,
// uuid, email, hostname, ipv4, ipv6, uri. nullopt for others.
std::optional<std::string> pattern_of_format(std::string_view format);

}  // namespace dinfer
