#include "grammar/schema_grammar.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include "grammar/decimal_range.h"
#include "grammar/pattern_grammar.h"
#include "grammar/schema_view.h"

namespace dinfer {

namespace {

using Node = Grammar::Node;

struct Property {
  std::string name;
  SchemaView schema;
  bool required = false;
};

class SchemaCompiler {
 public:
  SchemaCompiler(const OrderedJson& document, Grammar& grammar, JsonGrammar& json)
      : document_(document), grammar_(grammar), json_(json) {}

  Node compile(const SchemaView& schema, Node next);
  // Schemas that others refer to, until none is left.
  void compile_references();

 private:
  Node compile_type(const SchemaView& schema, const std::string& type, Node next);
  Node alternatives(const SchemaView& schema, const std::string& key, Node next);
  Node object(const SchemaView& schema, Node next);
  std::vector<Property> properties_of(const SchemaView& schema, const SchemaView& additional) const;
  Node array(const SchemaView& schema, Node next);
  Node integer(const SchemaView& schema, Node next);
  Node number(const SchemaView& schema, Node next);
  Node string(const SchemaView& schema, Node next);
  Node map(const SchemaView& schema, Node next);
  Node key_names(const SchemaView& names, Node next);
  void check_exclusive(const SchemaView& schema, const std::vector<SchemaView>& parts) const;
  SchemaView target_of(const SchemaView& schema, const std::string& ref);
  void alone(const SchemaView& schema, const std::string& key, std::set<std::string> beside) const;
  Grammar::Rule rule_of(const SchemaView& schema);

  const OrderedJson& document_;
  Grammar& grammar_;
  JsonGrammar& json_;
  std::map<const OrderedJson*, Grammar::Rule> rules_;
  std::map<std::string, SchemaView> targets_;  // by $ref
  std::deque<std::pair<SchemaView, Grammar::Rule>> pending_;
};

const OrderedJson kAnything = true;
constexpr size_t kMostAlternatives = 64;
constexpr size_t kMostReferences = 1000;
constexpr size_t kLongestName = 256;  // bytes of a property's name

std::string text_of(const OrderedJson& value) { return value.dump(); }

std::string dump_short(const std::string& text) {
  return OrderedJson(text.substr(0, 60)).dump(-1, ' ', true, OrderedJson::error_handler_t::replace);
}

std::optional<std::string> text_keyword(const SchemaView& schema, const std::string& key) {
  const OrderedJson* value = schema.find(key);
  if (!value) return std::nullopt;
  if (!value->is_string()) schema.refuse(key + " must be a string");
  return value->get<std::string>();
}

// Formats that tell what a text is for, and not how it is written.
bool is_note(const std::string& format) {
  constexpr std::array<std::string_view, 6> kNotes{"password",  "binary",         "path",
                                                   "file-path", "directory-path", "text"};
  return std::ranges::find(kNotes, format) != kNotes.end();
}

bool is_closed(const OrderedJson& schema) { return schema.is_boolean() && !schema.get<bool>(); }

// Types that keywords speak of where `type` does not say.
std::vector<std::string> implied_types(const SchemaView& schema) {
  for (const char* key :
       {"properties", "required", "additionalProperties", "patternProperties", "propertyNames"})
    if (schema.find(key)) return {"object"};
  for (const char* key : {"items", "prefixItems", "minItems", "maxItems"})
    if (schema.find(key)) return {"array"};
  for (const char* key : {"minLength", "maxLength", "pattern", "format"})
    if (schema.find(key)) return {"string"};
  for (const char* key : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
    if (schema.find(key)) return {"number"};
  return {};
}

Node SchemaCompiler::compile(const SchemaView& schema, Node next) {
  if (schema.json->is_boolean()) {
    if (!schema.json->get<bool>()) schema.refuse("nothing is valid by the schema false");
    return json_.value(next);
  }
  if (!schema.json->is_object()) schema.refuse("a schema must be an object, true or false");
  check_keywords(schema);
  if (const OrderedJson* ref = schema.find("$ref")) {
    if (!ref->is_string()) schema.refuse("$ref must be a string");
    alone(schema, "$ref", {});
    return grammar_.call(rule_of(target_of(schema, ref->get<std::string>())), next);
  }
  if (const auto values = schema.values()) {
    alone(schema, schema.find("const") ? "const" : "enum", {"type"});
    std::vector<std::string> texts;
    for (const OrderedJson& value : *values) texts.push_back(text_of(value));
    return grammar_.literals(std::move(texts), next);
  }
  for (const char* key : {"anyOf", "oneOf", "allOf"})
    if (schema.find(key)) return alternatives(schema, key, next);

  std::vector<std::string> types = schema.types();
  if (types.empty()) types = implied_types(schema);
  if (types.empty()) return json_.value(next);
  std::vector<Node> ways;
  for (const std::string& type : types) ways.push_back(compile_type(schema, type, next));
  return grammar_.either(ways);
}

void SchemaCompiler::compile_references() {
  while (!pending_.empty()) {
    const auto [schema, rule] = pending_.front();
    pending_.pop_front();
    grammar_.define(rule, compile(schema, grammar_.end()));
  }
}

// What a $ref means; each one is looked up once.
SchemaView SchemaCompiler::target_of(const SchemaView& schema, const std::string& ref) {
  const auto known = targets_.find(ref);
  if (known != targets_.end()) return known->second;
  if (targets_.size() == kMostReferences)
    schema.refuse(fmt::format("there are more than {} different $refs", kMostReferences));
  return targets_.emplace(ref, resolve(document_, schema, ref)).first->second;
}

// A schema as a rule: compiled once, however often it is meant.
Grammar::Rule SchemaCompiler::rule_of(const SchemaView& schema) {
  const auto known = rules_.find(schema.json);
  if (known != rules_.end()) return known->second;
  const Grammar::Rule rule = grammar_.declare();
  rules_[schema.json] = rule;
  pending_.emplace_back(schema, rule);
  return rule;
}

// Error(usage) where keywords stand beside `key` that would have to hold too.
void SchemaCompiler::alone(const SchemaView& schema, const std::string& key,
                           std::set<std::string> beside) const {
  beside.insert(key);
  for (const auto& [other, value] : schema.json->items()) {
    if (!beside.contains(other) && !is_annotation(other))
      schema.refuse(fmt::format("{} beside {} is not available", other, key));
  }
}

Node SchemaCompiler::alternatives(const SchemaView& schema, const std::string& key, Node next) {
  alone(schema, key, {});
  const OrderedJson& list = *schema.find(key);
  if (!list.is_array() || list.empty()) schema.refuse(key + " must be an array of schemas");
  if (list.size() > kMostAlternatives)
    schema.refuse(fmt::format("{} has more than {} schemas", key, kMostAlternatives));
  if (key == "allOf" && list.size() > 1) schema.refuse("allOf of several schemas is not available");
  std::vector<SchemaView> parts;
  for (size_t i = 0; i < list.size(); ++i)
    parts.push_back(schema.below(list[i], fmt::format("{}[{}]", key, i)));
  if (key == "oneOf") check_exclusive(schema, parts);
  std::vector<Node> ways;
  for (const SchemaView& part : parts) ways.push_back(compile(part, next));
  return grammar_.either(ways);
}

// A value must meet one schema of oneOf only, which the grammar cannot see to.
void SchemaCompiler::check_exclusive(const SchemaView& schema,
                                     const std::vector<SchemaView>& parts) const {
  std::vector<SchemaView> targets;
  for (const SchemaView& part : parts) targets.push_back(follow(document_, part));
  for (size_t a = 0; a < targets.size(); ++a) {
    for (size_t b = a + 1; b < targets.size(); ++b) {
      if (are_disjoint(targets[a], targets[b])) continue;
      schema.refuse(fmt::format(
          "a value could meet both oneOf[{}] and oneOf[{}]: use anyOf, or let a required "
          "property tell them apart",
          a, b));
    }
  }
}

Node SchemaCompiler::compile_type(const SchemaView& schema, const std::string& type, Node next) {
  if (type == "object") return object(schema, next);
  if (type == "array") return array(schema, next);
  if (type == "integer") return integer(schema, next);
  if (type == "number") return number(schema, next);
  if (type == "null") return grammar_.literal("null", next);
  if (type == "boolean")
    return grammar_.either({grammar_.literal("true", next), grammar_.literal("false", next)});
  return string(schema, next);
}

// A pattern says all that its format would: where both stand there, the format is a note.
Node SchemaCompiler::string(const SchemaView& schema, Node next) {
  const TextLength length{.fewest = schema.count("minLength").value_or(0),
                          .most = schema.count("maxLength")};
  if (length.most && *length.most < length.fewest)
    schema.refuse("maxLength is less than minLength");
  std::optional<std::string> pattern = text_keyword(schema, "pattern");
  const std::optional<std::string> format = text_keyword(schema, "format");
  if (!pattern && format && !is_note(*format)) {
    pattern = pattern_of_format(*format);
    if (!pattern) schema.refuse(fmt::format("the format {} is not available", dump_short(*format)));
  }
  try {
    if (pattern) return add_pattern(*pattern, length, grammar_, next);
  } catch (const Error& error) {
    schema.refuse(error.what());
  }
  return length.fewest == 0 && !length.most ? json_.string(next)
                                            : json_.string(length.fewest, length.most, next);
}

std::vector<Property> SchemaCompiler::properties_of(const SchemaView& schema,
                                                    const SchemaView& additional) const {
  std::vector<Property> properties;
  std::map<std::string, size_t> places;
  if (const OrderedJson* named = schema.find("properties")) {
    if (!named->is_object()) schema.refuse("properties must be an object");
    for (const auto& [name, part] : named->items()) {
      if (name.size() > kLongestName)
        schema.refuse(fmt::format("a property's name has more than {} bytes", kLongestName));
      places[name] = properties.size();
      properties.push_back({name, schema.below(part, "properties." + name)});
    }
  }
  const OrderedJson* required = schema.find("required");
  if (!required) return properties;
  if (!required->is_array()) schema.refuse("required must be an array of names");
  for (const OrderedJson& name : *required) {
    if (!name.is_string()) schema.refuse("required must be an array of names");
    const auto known = places.find(name.get<std::string>());
    if (known != places.end())
      properties[known->second].required = true;
    else if (is_closed(*additional.json))
      schema.refuse("it requires a property that it does not allow");
    else if (places.try_emplace(name.get<std::string>(), properties.size()).second)
      properties.push_back({name.get<std::string>(), additional, true});
  }
  return properties;
}

// An object whose keys have a form of their own: `propertyNames`, or one of `patternProperties`.
Node SchemaCompiler::map(const SchemaView& schema, Node next) {
  for (const char* key : {"properties", "required"})
    if (schema.find(key))
      schema.refuse(fmt::format("{} beside patterns of names is not available", key));
  const OrderedJson* names = schema.find("propertyNames");
  const OrderedJson* patterns = schema.find("patternProperties");
  const OrderedJson* further = schema.find("additionalProperties");
  SchemaView value = schema.below(further ? *further : kAnything, "additionalProperties");
  if (names && patterns) schema.refuse("patternProperties beside propertyNames is not available");
  if (patterns) {
    if (!patterns->is_object() || patterns->size() != 1)
      schema.refuse("patternProperties of one pattern only is available");
    value = schema.below(patterns->front(), "patternProperties");
  }
  const Node end = grammar_.byte('}', '}', next), later_end = json_.blank(end);
  const Node behind = grammar_.fresh();  // a property
  const Node rest = json_.colon(grammar_.call(rule_of(value), behind));
  const Node entry = patterns ? add_pattern(patterns->begin().key(), {}, grammar_, rest)
                              : key_names(schema.below(*names, "propertyNames"), rest);
  grammar_.link(behind, later_end);
  grammar_.link(behind, json_.comma(entry));
  return grammar_.byte('{', '{', json_.blank(grammar_.either({end, entry})));
}

// Names by a schema: strings, whether it says so or not.
Node SchemaCompiler::key_names(const SchemaView& names, Node next) {
  const SchemaView schema = follow(document_, names);
  if (!schema.json->is_object()) schema.refuse("a schema of names must be an object");
  check_keywords(schema);
  if (schema.values()) return compile(schema, next);
  const std::vector<std::string> types = schema.types();
  if (!types.empty() && types != std::vector<std::string>{"string"})
    schema.refuse("names are strings");
  return string(schema, next);
}

Node SchemaCompiler::object(const SchemaView& schema, Node next) {
  if (schema.find("propertyNames") || schema.find("patternProperties")) return map(schema, next);
  static const OrderedJson kNothing = false;
  const OrderedJson* said = schema.find("additionalProperties");
  const OrderedJson& further = said ? *said : schema.find("properties") ? kNothing : kAnything;
  const SchemaView additional = schema.below(further, "additionalProperties");
  const std::vector<Property> properties =
      properties_of(schema, said ? additional : schema.below(kAnything, "required"));
  if (properties.empty() && further == kAnything) return json_.object(next);

  const Node close = grammar_.byte('}', '}', next);
  std::vector<Node> ends_first{close}, ends_later{json_.blank(close)};
  if (!is_closed(further)) {
    std::vector<std::string> names;
    for (const Property& property : properties) {
      const std::string text = text_of(property.name);
      if (text.size() != property.name.size() + 2)
        schema.refuse(
            "names with quotes, backslashes or control characters need additionalProperties to be "
            "false");
      names.push_back(property.name);
    }
    const Node more = grammar_.fresh();  // behind such a property
    const Node entry =
        json_.other_key(names, json_.colon(grammar_.call(rule_of(additional), more)));
    grammar_.link(more, ends_later[0]);
    grammar_.link(more, json_.comma(entry));
    ends_first.push_back(entry);
    ends_later.push_back(json_.comma(entry));
  }
  // Where nothing was written yet, and where something was: then a comma comes first.
  Node first = grammar_.either(ends_first), later = grammar_.either(ends_later);
  for (size_t i = properties.size(); i-- > 0;) {
    const Property& property = properties[i];
    const Node entry =
        grammar_.literal(text_of(property.name), json_.colon(compile(property.schema, later)));
    const Node with_comma = json_.comma(entry);
    first = property.required ? entry : grammar_.either({entry, first});
    later = property.required ? with_comma : grammar_.either({with_comma, later});
  }
  return grammar_.byte('{', '{', json_.blank(first));
}

Node SchemaCompiler::array(const SchemaView& schema, Node next) {
  if (const OrderedJson* unique = schema.find("uniqueItems"); unique && *unique != false)
    schema.refuse("uniqueItems is not available");
  std::vector<SchemaView> front;
  if (const OrderedJson* prefix = schema.find("prefixItems")) {
    if (!prefix->is_array()) schema.refuse("prefixItems must be an array of schemas");
    for (size_t i = 0; i < prefix->size(); ++i)
      front.push_back(schema.below((*prefix)[i], fmt::format("prefixItems[{}]", i)));
  }
  const auto named = static_cast<int64_t>(front.size());
  const OrderedJson* items = schema.find("items");
  const bool closed = items ? is_closed(*items) : named > 0;
  const SchemaView rest = schema.below(items ? *items : kAnything, "items");
  const int64_t fewest = schema.count("minItems").value_or(0);
  std::optional<int64_t> most = schema.count("maxItems");
  if (closed) most = std::min(most.value_or(named), named);
  if (most && *most < fewest) schema.refuse("it needs more items than it allows");

  const Node close = grammar_.byte(']', ']', next);
  const Node close_later = json_.blank(close);
  const auto element = [&](int64_t index, Node behind) {
    return index < named ? compile(front[static_cast<size_t>(index)], behind)
                         : grammar_.call(rule_of(rest), behind);
  };
  int64_t count = most.value_or(std::max(fewest, named));  // items before `behind`
  Node behind = close_later;
  if (!most) {
    behind = grammar_.fresh();
    grammar_.link(behind, close_later);
    grammar_.link(behind, json_.comma(element(count, behind)));
  }
  Node start = most || count > 0 ? close : grammar_.either({close, element(0, behind)});
  for (; count > 0; --count) {
    const Node last = element(count - 1, behind);
    if (count == 1) {
      start = fewest == 0 ? grammar_.either({close, last}) : last;
    } else {
      const Node with_comma = json_.comma(last);
      behind = count - 1 >= fewest ? grammar_.either({close_later, with_comma}) : with_comma;
    }
  }
  return grammar_.byte('[', '[', json_.blank(start));
}

Node SchemaCompiler::integer(const SchemaView& schema, Node next) {
  int64_t low = -JsonGrammar::kGreatest, high = JsonGrammar::kGreatest;
  const auto bound = [&](const char* key, bool lower, bool excluded) {
    const OrderedJson* value = schema.find(key);
    if (!value) return;
    if (!value->is_number()) schema.refuse(fmt::format("{} must be a number", key));
    const double exact = value->get<double>();
    double limit = lower ? std::ceil(exact) : std::floor(exact);
    if (excluded && limit == exact) limit += lower ? 1 : -1;
    if (std::fabs(limit) >= 9.007199254740992e15)
      schema.refuse(fmt::format("{} is beyond 2^53", key));
    if (lower)
      low = std::max(low, static_cast<int64_t>(limit));
    else
      high = std::min(high, static_cast<int64_t>(limit));
  };
  bound("minimum", true, false);
  bound("exclusiveMinimum", true, true);
  bound("maximum", false, false);
  bound("exclusiveMaximum", false, true);
  if (low > high) schema.refuse("no integer is within its bounds");
  return json_.integer(low, high, next);
}

Node SchemaCompiler::number(const SchemaView& schema, Node next) {
  std::optional<DecimalBound> low, high;
  const auto bound = [&](const char* key, std::optional<DecimalBound>& to, bool lower, bool open) {
    const OrderedJson* value = schema.find(key);
    if (!value) return;
    if (!value->is_number()) schema.refuse(fmt::format("{} must be a number", key));
    const auto limit = value->get<double>();
    const bool tighter = !to || (lower ? limit > to->value : limit < to->value);
    if (tighter || (limit == to->value && open)) to = DecimalBound{limit, open};
  };
  bound("minimum", low, true, false);
  bound("exclusiveMinimum", low, true, true);
  bound("maximum", high, false, false);
  bound("exclusiveMaximum", high, false, true);
  if (!low && !high) return json_.number(next);
  try {
    return add_decimals(low, high, grammar_, json_, next);
  } catch (const Error& error) {
    schema.refuse(error.what());
  }
}

}  // namespace

Grammar::Node add_schema(const OrderedJson& schema, Grammar& grammar, JsonGrammar& json,
                         Grammar::Node next) {
  SchemaCompiler compiler(schema, grammar, json);
  const Node start = compiler.compile({&schema, "$"}, next);
  compiler.compile_references();
  return start;
}

}  // namespace dinfer
