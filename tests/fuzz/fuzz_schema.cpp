// JSON Schemas under hostile input. Up to the first zero byte the input is a schema; the bytes
// behind it choose among what its grammar allows. Whatever is complete must be JSON.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "grammar/grammar_machine.h"
#include "grammar/schema_grammar.h"

namespace dinfer {
namespace {

constexpr JsonLimits kLimits{.depth = 64, .values = 5000};

void walk(const Grammar& grammar, std::string_view choices) {
  GrammarMachine machine(grammar);
  GrammarMachine::State state = machine.start();
  std::string text;
  for (const char choice : choices) {
    std::vector<uint8_t> allowed;
    for (int byte = 0; byte < 256; ++byte) {
      if (machine.step(state, static_cast<uint8_t>(byte)) != GrammarMachine::kDead)
        allowed.push_back(static_cast<uint8_t>(byte));
    }
    if (allowed.empty()) break;
    const uint8_t byte = allowed[static_cast<uint8_t>(choice) % allowed.size()];
    text += static_cast<char>(byte);
    state = machine.step(state, byte);
    if (machine.accepts(state)) check(OrderedJson::accept(text), "a complete text is JSON");
  }
}

}  // namespace
}  // namespace dinfer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dinfer;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(input.find('\0'), input.size());
  try {
    const OrderedJson schema =
        parse_ordered_json(input.substr(0, cut), "the schema", ExitCode::usage, kLimits);
    Grammar grammar;
    JsonGrammar json(grammar);
    grammar.set_start(add_schema(schema, grammar, json, grammar.end()));
    walk(grammar, input.substr(std::min(cut + 1, input.size())));
  } catch (const Error&) {  // a refusal is fine
  }
  return 0;
}
