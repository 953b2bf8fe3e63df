#pragma once

#include <string>
#include <string_view>

namespace dinfer {

// The page at "/": src/server/page.html, in the program.
std::string_view page_html();

// Its Content-Security-Policy: only its own script and style run, by their hashes.
const std::string& page_policy();

}  // namespace dinfer
