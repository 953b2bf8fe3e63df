// JSON text: what parse_json accepts says the same after being written and read again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dinfer;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const JsonLimits limits{.depth = 32, .values = 10'000};
  try {
    const Json value = parse_json(text, "input", ExitCode::usage, limits);
    const OrderedJson ordered = parse_ordered_json(text, "input", ExitCode::usage, limits);
    const std::string written = value.dump();
    if (parse_json(written, "written", ExitCode::usage, limits) != value) std::abort();
    if (parse_json(ordered.dump(), "ordered", ExitCode::usage, limits) != value) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
