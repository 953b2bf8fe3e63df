#include "placement/topology_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

namespace dinfer {
namespace {

struct Name {
  std::string_view text;
  QuantSpec spec;
};

constexpr QuantSpec k4{.bits = 4, .group = 32};
constexpr QuantSpec k8{.bits = 8, .group = 32};
constexpr QuantSpec k4Wide{.bits = 4, .group = 64};
constexpr QuantSpec k8Wide{.bits = 8, .group = 64};

// Never fewer bits than asked for; groups as in the format that is named, where it has 32 or 64
// weights to a scale.
constexpr auto kNames = std::to_array<Name>({
    {"2", k4},        {"3", k4},        {"4", k4},        {"5", k8},        {"6", k8},
    {"8", k8},        {"q4_0", k4},     {"q4_1", k4},     {"q5_0", k8},     {"q5_1", k8},
    {"q8_0", k8},     {"q8_1", k8},     {"q2k", k4},      {"q3k", k4},      {"q4k", k4},
    {"q5k", k8},      {"q6k", k8},      {"q8k", k8},      {"fp8", k8},      {"f8q8", k8},
    {"mxfp4", k4},    {"hqq4", k4Wide}, {"hqq8", k8Wide}, {"afq2", k4Wide}, {"afq3", k4Wide},
    {"afq4", k4Wide}, {"afq6", k8Wide}, {"afq8", k8Wide},
});

}  // namespace

std::optional<QuantSpec> quantization_named(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto found = std::ranges::find(kNames, lower, &Name::text);
  if (found == kNames.end()) return std::nullopt;
  return found->spec;
}

std::span<const std::string> quantization_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Name& name : kNames) all.emplace_back(name.text);
    return all;
  }();
  return names;
}

}  // namespace dinfer
