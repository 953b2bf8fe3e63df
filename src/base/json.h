#pragma once

#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace dinfer {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

// Limits that keep hostile JSON from exhausting stack or memory.
struct JsonLimits {
  int depth = 64;
  uint64_t values = 20'000'000;
};

// Parses `text`. Broken JSON, a duplicate key in an object, bytes after the end or a broken limit
// throw Error(code) whose message starts with `where`.
Json parse_json(std::string_view text, std::string_view where, ExitCode code,
                const JsonLimits& limits = {});
OrderedJson parse_ordered_json(std::string_view text, std::string_view where, ExitCode code,
                               const JsonLimits& limits = {});

}  // namespace dinfer
