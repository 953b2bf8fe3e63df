#include "text/utf8.h"

#include <algorithm>

namespace dinfer {
namespace {

constexpr uint32_t kReplacement = 0xfffd;

// What a lead byte asks for (Unicode 15, table 3-7): length of the character and the range of its
// second byte; all further bytes are 80..BF.
struct Lead {
  uint32_t bytes = 0;  // 0: no lead byte
  uint8_t low = 0x80;
  uint8_t high = 0xbf;
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xc2) return {0};
  if (byte < 0xe0) return {2};
  if (byte == 0xe0) return {3, 0xa0, 0xbf};
  if (byte == 0xed) return {3, 0x80, 0x9f};
  if (byte < 0xf0) return {3};
  if (byte == 0xf0) return {4, 0x90, 0xbf};
  if (byte < 0xf4) return {4};
  if (byte == 0xf4) return {4, 0x80, 0x8f};
  return {0};
}

// How many bytes from `at` belong together: the whole character or the part of it that is right.
uint32_t well_formed_bytes(std::string_view text, size_t at, const Lead& lead) {
  uint32_t count = 1;
  while (count < lead.bytes && at + count < text.size()) {
    const auto byte = static_cast<uint8_t>(text[at + count]);
    const bool fits =
        count == 1 ? byte >= lead.low && byte <= lead.high : byte >= 0x80 && byte <= 0xbf;
    if (!fits) break;
    ++count;
  }
  return count;
}

}  // namespace

Character read_character(std::string_view text, size_t at) {
  const auto first = static_cast<uint8_t>(text[at]);
  if (first < 0x80) return {first, 1, true};
  const Lead lead = lead_of(first);
  const uint32_t count = well_formed_bytes(text, at, lead);
  if (count != lead.bytes) return {kReplacement, count, false};
  uint32_t code = first & (0x7fu >> lead.bytes);
  for (uint32_t i = 1; i < count; ++i)
    code = code << 6 | (static_cast<uint8_t>(text[at + i]) & 63u);
  return {code, count, true};
}

void append_character(std::string& text, uint32_t code) {
  const auto tail = [&](int shift) {
    text.push_back(static_cast<char>(0x80 | (code >> shift & 63)));
  };
  if (code < 0x80) {
    text.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    text.push_back(static_cast<char>(0xc0 | code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    text.push_back(static_cast<char>(0xe0 | code >> 12));
    tail(6);
    tail(0);
  } else {
    text.push_back(static_cast<char>(0xf0 | code >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char byte) { return static_cast<uint8_t>(byte) < 0x80; });
}

bool is_valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Character character = read_character(text, at);
    if (!character.valid) return false;
    at += character.bytes;
  }
  return true;
}

std::string to_valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Character character = read_character(text, at);
    if (character.valid) {
      valid.append(text, at, character.bytes);
    } else {
      append_character(valid, kReplacement);
    }
    at += character.bytes;
  }
  return valid;
}

size_t unfinished_bytes(std::string_view text) {
  for (size_t count = 1; count <= 3 && count <= text.size(); ++count) {
    const size_t at = text.size() - count;
    const Lead lead = lead_of(static_cast<uint8_t>(text[at]));
    if (lead.bytes == 0) continue;
    const bool unfinished = lead.bytes > count && well_formed_bytes(text, at, lead) == count;
    return unfinished ? count : 0;
  }
  return 0;
}

bool is_white_space(uint32_t code) {
  return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xa0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
         code == 0x202f || code == 0x205f || code == 0x3000;
}

}  // namespace dinfer
