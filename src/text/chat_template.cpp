#include "text/chat_template.h"

#include "text/jinja_evaluator.h"
#include "text/jinja_parser.h"

namespace dinfer {
namespace {

using jinja::Runtime;
using jinja::TemplateError;
using jinja::Value;

// All texts of it are data.
Value import(Runtime& runtime, const OrderedJson& json) {
  const Runtime::Nesting nesting(runtime);
  switch (json.type()) {
    case OrderedJson::value_t::boolean:
      return Value(json.get<bool>());
    case OrderedJson::value_t::number_integer:
      return Value(json.get<int64_t>());
    case OrderedJson::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      return number <= INT64_MAX ? Value(static_cast<int64_t>(number)) : Value(number);
    }
    case OrderedJson::value_t::number_float:
      return Value(json.get<double>());
    case OrderedJson::value_t::string:
      return runtime.text(json.get_ref<const std::string&>(), true);
    case OrderedJson::value_t::array: {
      std::vector<Value> items;
      for (const OrderedJson& item : json) items.push_back(import(runtime, item));
      return runtime.list(std::move(items));
    }
    case OrderedJson::value_t::object: {
      jinja::Dict* dict = runtime.dict();
      for (const auto& [key, value] : json.items()) {
        runtime.set(*dict, runtime.text(key, true), import(runtime, value));
      }
      return Value(dict);
    }
    default:
      return {};
  }
}

}  // namespace

struct ChatTemplate::Program {
  std::unique_ptr<const jinja::Program> parsed;
};

ChatTemplate::ChatTemplate(std::string_view source, const TemplateBudget& budget)
    : budget_(budget) {
  try {
    program_ = std::make_unique<Program>(Program{jinja::parse(source, budget)});
  } catch (const TemplateError& error) {
    fail(ExitCode::model_files, "chat template, line {}: {}", error.line(), error.what());
  }
}

ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

namespace {

// The variables that the template can see, for those names that it mentions.
class Variables {
 public:
  Variables(const jinja::Program& program, Runtime& runtime)
      : program_(program), runtime_(runtime) {}

  template <class Make>
  void set(std::string_view name, Make make) {
    const auto place = std::find(program_.symbols.begin(), program_.symbols.end(), name);
    if (place == program_.symbols.end()) return;
    const auto symbol = static_cast<jinja::Symbol>(place - program_.symbols.begin());
    values_.emplace_back(symbol, make());
  }
  void set_data(std::string_view name, const OrderedJson& json) {
    set(name, [&] { return import(runtime_, json); });
  }
  const std::vector<std::pair<jinja::Symbol, Value>>& values() const { return values_; }

 private:
  const jinja::Program& program_;
  Runtime& runtime_;
  std::vector<std::pair<jinja::Symbol, Value>> values_;
};

}  // namespace

RenderedChat ChatTemplate::render(const Input& input) const {
  const jinja::Program& program = *program_->parsed;
  Runtime runtime(budget_, input.now);
  try {
    Variables variables(program, runtime);
    for (const jinja::Native& function : jinja::global_functions()) {
      variables.set(function.name, [&] {
        return Value(runtime.object<jinja::NativeCallable>(function, Value()));
      });
    }
    for (const auto& [name, text] : input.special_texts) {
      variables.set(name, [&runtime, &text = text] { return runtime.text(text); });
    }
    variables.set_data("messages", input.messages);
    variables.set_data("tools", input.tools);
    variables.set_data("documents", input.documents);
    variables.set("add_generation_prompt", [&] { return Value(input.add_generation_prompt); });
    for (const auto& [name, value] : input.kwargs.items()) variables.set_data(name, value);
    jinja::Text text = jinja::Evaluator(program, runtime).render(variables.values());
    return {std::move(text.bytes), std::move(text.data)};
  } catch (const TemplateError& error) {
    fail(ExitCode::usage, "chat template, line {}: {}",
         error.line() < 0 ? runtime.line() : error.line(), error.what());
  }
}

}  // namespace dinfer
