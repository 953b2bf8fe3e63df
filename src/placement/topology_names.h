#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "quant/quantize.h"

namespace dinfer {

// What an isq value of a topology file becomes; none: there is no such value. Names as mistral.rs
// spells them, upper or lower case, or a number of bits.
std::optional<QuantSpec> quantization_named(std::string_view name);

std::span<const std::string> quantization_names();

}  // namespace dinfer
