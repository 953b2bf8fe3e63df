#pragma once

#include <optional>

#include "grammar/grammar.h"
#include "grammar/json_grammar.h"

namespace dinfer {

// A border of numbers; `open`: it is not one of them itself.
struct DecimalBound {
  double value = 0;
  bool open = false;
};

// JSON numbers without exponents between two borders, with as many digits behind the point as a
// double tells apart there, and not beyond 10^15. Error(usage) where there is none.
Grammar::Node add_decimals(const std::optional<DecimalBound>& low,
                           const std::optional<DecimalBound>& high, Grammar& grammar,
                           JsonGrammar& json, Grammar::Node next);

}  // namespace dinfer
