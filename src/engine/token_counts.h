#pragma once

#include <cstdint>
#include <unordered_map>

namespace dinfer {

// How often the output of a sequence has each token. Tokens of the prompt are in it too, with what
// the output has of them: the repetition penalty looks at both.
using TokenCounts = std::unordered_map<int32_t, int32_t>;

}  // namespace dinfer
