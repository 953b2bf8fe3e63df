#pragma once

#include "base/json.h"
#include "grammar/grammar.h"
#include "grammar/json_grammar.h"

namespace dinfer {

// The JSON texts that are valid by a JSON Schema (2020-12), or some of them: never others. An
// object's properties come in the order of the schema. An object whose schema names properties and
// says nothing of further ones has none. A keyword that is not honoured is an Error(usage) that
// names it and where it stands; so is a schema that nothing can meet.
Grammar::Node add_schema(const OrderedJson& schema, Grammar& grammar, JsonGrammar& json,
                         Grammar::Node next);

}  // namespace dinfer
