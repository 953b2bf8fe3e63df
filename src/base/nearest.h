#pragma once

#include <span>
#include <string>
#include <string_view>

namespace dinfer {

// The candidate that `word` was most likely meant to be: one that it abbreviates, or the one with
// the fewest slips. Empty when none is close.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace dinfer
