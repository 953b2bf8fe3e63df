#pragma once

#include <cstdint>
#include <string_view>

#include "base/json.h"

namespace dinfer {

// openapi.json as it stands in the source.
std::string_view openapi_source();

// The description of the API (OpenAPI 3.1) for a model with so many tokens; `keys`: it asks for
// one.
OrderedJson describe_api(int64_t vocab, bool keys);

}  // namespace dinfer
