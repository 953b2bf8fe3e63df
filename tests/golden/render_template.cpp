// Renders chat templates for peer_templates.py: reads JSON objects, one a line, with the members of
// ChatTemplate::Input and "template", and writes {"text"} or {"error"} for each.
#include <iostream>

#include "base/json.h"
#include "text/chat_template.h"

namespace dinfer {
namespace {

OrderedJson render(const OrderedJson& request) {
  ChatTemplate::Input input;
  input.messages = request.at("messages");
  input.tools = request.value("tools", OrderedJson());
  input.documents = request.value("documents", OrderedJson());
  input.add_generation_prompt = request.value("add_generation_prompt", false);
  input.kwargs = request.value("kwargs", OrderedJson::object());
  input.now = request.value("now", int64_t{0});
  const OrderedJson special_texts = request.value("special_texts", OrderedJson::object());
  for (const auto& [name, text] : special_texts.items()) {
    input.special_texts.emplace_back(name, text.get<std::string>());
  }
  try {
    const auto source = request.at("template").get<std::string>();
    return {{"text", ChatTemplate(source).render(input).text}};
  } catch (const Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace
}  // namespace dinfer

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto request =
        dinfer::parse_ordered_json(line, "standard input", dinfer::ExitCode::usage);
    std::cout << dinfer::render(request).dump(-1, ' ', false,
                                              dinfer::OrderedJson::error_handler_t::replace)
              << '\n';
  }
}
