#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dinfer {

// GPT-2's alphabet: every byte written as a printable character, so that vocabularies of bytes can
// be kept as text. Printable bytes of Latin-1 stand for themselves, the others are U+0100 and on
// (https://github.com/openai/gpt-2/blob/master/src/encoder.py, bytes_to_unicode).
void append_as_letters(std::string_view bytes, std::string& out);

// The bytes of a text in that alphabet; empty when a character is not in it.
std::optional<std::string> bytes_of_letters(std::string_view letters);

}  // namespace dinfer
