#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace dinfer {
namespace {

constexpr uint32_t kLetters = 0x144;  // one above the last character of the alphabet

constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
         (byte >= 0xae && byte <= 0xff);
}

struct Alphabet {
  std::array<uint16_t, 256> letter_of{};
  std::array<int16_t, kLetters> byte_of{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte_of.fill(-1);
  uint16_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint16_t letter = stands_for_itself(byte) ? static_cast<uint16_t>(byte) : next++;
    alphabet.letter_of[byte] = letter;
    alphabet.byte_of[letter] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

void append_as_letters(std::string_view bytes, std::string& out) {
  for (const char byte : bytes)
    append_character(out, kAlphabet.letter_of[static_cast<uint8_t>(byte)]);
}

std::optional<std::string> bytes_of_letters(std::string_view letters) {
  std::string bytes;
  bytes.reserve(letters.size());
  for (size_t at = 0; at < letters.size();) {
    const Character character = read_character(letters, at);
    if (character.code >= kLetters || kAlphabet.byte_of[character.code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte_of[character.code]));
    at += character.bytes;
  }
  return bytes;
}

}  // namespace dinfer
