#pragma once

#include "text/chat_template.h"
#include "text/jinja_syntax.h"

namespace dinfer::jinja {

// A TemplateError names the line of what cannot be parsed, or of what exceeds the budget.
std::unique_ptr<Program> parse(std::string_view source, const TemplateBudget& budget);

}  // namespace dinfer::jinja
