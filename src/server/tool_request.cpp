#include "server/tool_request.h"

#include <algorithm>

#include "grammar/grammar_cache.h"
#include "grammar/schema_grammar.h"
#include "server/api_error.h"

namespace dinfer {

namespace {

constexpr size_t kMostTools = 128;
constexpr size_t kLongestName = 64;

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kLongestName && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

std::string text_field(ApiFields& fields, std::string_view name) {
  return fields.text(name, size_t{1} << 20).value_or("");
}

// `given` as a tool for the template, and as what may be called.
ToolFunction read_tool(const OrderedJson& given, const std::string& path) {
  ApiFields tool(given, path);
  if (text_field(tool, "type") != "function")
    throw ApiError::bad_field(path + ".type", "must be \"function\"");
  const OrderedJson* object = tool.find("function");
  if (!object) throw ApiError::bad_field(path + ".function", "is missing");
  ApiFields function(*object, path + ".function");
  ToolFunction read{text_field(function, "name"), {{"type", "object"}}};
  if (!is_name(read.name)) {
    throw ApiError::bad_field(path + ".function.name",
                              "must be 1 to 64 letters, digits, dots, dashes or underscores");
  }
  text_field(function, "description");
  function.boolean("strict");
  if (const OrderedJson* parameters = function.find("parameters")) {
    if (!parameters->is_object() || parameters->value("type", OrderedJson("object")) != "object")
      throw ApiError::bad_field(path + ".function.parameters",
                                "must be a JSON Schema of type object");
    read.parameters = *parameters;
    if (!read.parameters.contains("type") && !read.parameters.contains("$ref"))
      read.parameters["type"] = "object";
  }
  return read;
}

// Whether tools are to be used; leaves in `request` those that may be called.
bool read_choice(ApiFields& fields, ToolRequest& request) {
  const OrderedJson* choice = fields.find("tool_choice");
  if (!choice || *choice == "auto") return true;
  if (*choice == "none") return false;
  request.rule.must_call = true;
  if (*choice == "required") return true;
  ApiFields named(*choice, "tool_choice");
  if (text_field(named, "type") != "function" || !named.find("function"))
    throw ApiError::bad_field("tool_choice",
                              "must be none, auto, required, or {\"type\": \"function\", "
                              "\"function\": {\"name\": NAME}}");
  ApiFields function(*named.find("function"), "tool_choice.function");
  const std::string name = text_field(function, "name");
  std::erase_if(request.functions, [&](const ToolFunction& f) { return f.name != name; });
  if (request.functions.empty())
    throw ApiError::bad_field("tool_choice.function.name", "names none of the tools");
  request.rule.several = false;
  return true;
}

// The schema of response_format; nullopt where it asks for plain text.
std::optional<OrderedJson> read_format(ApiFields& fields) {
  const OrderedJson* given = fields.find("response_format");
  if (!given) return std::nullopt;
  ApiFields format(*given, "response_format");
  const std::string type = text_field(format, "type");
  if (type == "text") return std::nullopt;
  if (type == "json_object") return OrderedJson{{"type", "object"}};
  if (type != "json_schema")
    throw ApiError::bad_field("response_format.type", "must be text, json_object or json_schema");
  const OrderedJson* named = format.find("json_schema");
  if (!named) throw ApiError::bad_field("response_format.json_schema", "is missing");
  ApiFields inner(*named, "response_format.json_schema");
  const OrderedJson* schema = inner.find("schema");
  if (!schema) throw ApiError::bad_field("response_format.json_schema.schema", "is missing");
  return *schema;
}

}  // namespace

ToolRequest read_tools(ApiFields& fields, const ServedModel& model) {
  ToolRequest request;
  const OrderedJson* tools = fields.find("tools");
  const bool several = fields.boolean("parallel_tool_calls").value_or(true);
  if (!tools || (tools->is_array() && tools->empty())) {
    fields.refuse("tool_choice", "there are no tools", {"none", "auto"});
    return request;
  }
  if (!tools->is_array() || tools->size() > kMostTools)
    throw ApiError::bad_field("tools",
                              fmt::format("must be an array of 1 to {} tools", kMostTools));
  for (size_t i = 0; i < tools->size(); ++i) {
    const std::string path = fmt::format("tools[{}]", i);
    ToolFunction function = read_tool((*tools)[i], path);
    if (std::ranges::find(request.functions, function.name, &ToolFunction::name) !=
        request.functions.end())
      throw ApiError::bad_field(path + ".function.name", "is the name of an earlier tool too");
    request.functions.push_back(std::move(function));
  }
  request.rule.several = several;
  if (!read_choice(fields, request)) return {};
  const TemplateTools known = tools_of_template(model.chat_template_source);
  if (known.shows_tools && !known.known_format && !request.rule.must_call) {
    throw ApiError::bad_field("tool_choice",
                              "how this model writes calls is not known: auto is not available, "
                              "required and a named function are",
                              "unsupported_parameter");
  }
  request.rule.format = known.format;
  request.shown_by_template = known.shows_tools;
  request.tools = *tools;
  return request;
}

void read_tool_calls(OrderedJson& message, const std::string& path) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end()) return;
  if (calls->is_null()) {
    message.erase("tool_calls");
    return;
  }
  if (!calls->is_array()) throw ApiError::bad_field(path + ".tool_calls", "must be an array");
  for (size_t i = 0; i < calls->size(); ++i) {
    const std::string at = fmt::format("{}.tool_calls[{}].function", path, i);
    OrderedJson& call = (*calls)[i];
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object() ||
        !call["function"].contains("name") || !call["function"]["name"].is_string())
      throw ApiError::bad_field(at, "must be an object with a name");
    OrderedJson& arguments = call["function"]["arguments"];
    if (arguments.is_null()) arguments = OrderedJson::object();
    if (arguments.is_string()) {
      try {
        arguments = parse_ordered_json(arguments.get<std::string>(), "it", ExitCode::usage);
      } catch (const Error& error) {
        throw ApiError::bad_field(at + ".arguments", fmt::format("is no JSON: {}", error.what()));
      }
    }
    if (!arguments.is_object())
      throw ApiError::bad_field(at + ".arguments", "must be the JSON text of an object");
  }
}

void constrain(ApiFields& fields, const ServedModel& model, const ToolRequest& tools,
               Generation& generation) {
  const std::optional<OrderedJson> schema = read_format(fields);
  if (schema && tools.active())
    throw ApiError::bad_field("response_format", "is not available beside tools",
                              "unsupported_parameter");
  const std::string field = schema ? "response_format" : "tools";
  // What the grammar lets through is all text: it knows the special tokens of calls alone.
  generation.skip_special = !schema && !tools.active();
  try {
    if (schema) {
      generation.grammar = model.grammars->find("schema " + schema->dump(), [&](Grammar& grammar) {
        JsonGrammar json(grammar);
        grammar.set_start(add_schema(*schema, grammar, json, grammar.end()));
      });
    } else if (tools.active()) {
      std::string key = fmt::format("tools {} {}", tools.rule.must_call, tools.rule.several);
      for (const ToolFunction& function : tools.functions)
        key += " " + function.name + " " + function.parameters.dump();
      generation.grammar = model.grammars->find(
          key, [&](Grammar& grammar) { build_tool_grammar(tools.rule, tools.functions, grammar); });
      generation.tool_format = tools.rule.format;
      generation.tool_functions =
          std::make_shared<const std::vector<ToolFunction>>(tools.functions);
    }
  } catch (const Error& error) {
    throw ApiError::bad_field(field, error.what(), "unsupported_schema");
  }
}

}  // namespace dinfer
