#include "grammar/json_grammar.h"

#include <algorithm>
#include <map>
#include <utility>

namespace dinfer {

namespace {

constexpr int kLongestIndent = 32;

}  // namespace

JsonGrammar::JsonGrammar(Grammar& grammar)
    : grammar_(grammar),
      blank_(grammar.declare()),
      text_(grammar.declare()),
      value_(grammar.declare()),
      object_(grammar.declare()),
      array_(grammar.declare()) {
  define_blank();
  // The rest of a string behind its first quote.
  const Node loop = grammar_.fresh();
  grammar_.link(loop, character(loop, true));
  grammar_.link(loop, grammar_.byte('"', '"', grammar_.end()));
  grammar_.define(text_, loop);
  define_values();
}

void JsonGrammar::define_blank() {
  const Node end = grammar_.end();
  Node indent = end;
  for (int i = 0; i < kLongestIndent; ++i)
    indent = grammar_.either({end, grammar_.byte(' ', ' ', indent)});
  const Node line = grammar_.byte('\n', '\n', indent);
  grammar_.define(blank_, grammar_.either({end, grammar_.byte(' ', ' ', end), line}));
}

void JsonGrammar::define_values() {
  const Node end = grammar_.end();
  grammar_.define(value_,
                  grammar_.either({string(end), number(end), object(end), array(end),
                                   grammar_.literal("true", end), grammar_.literal("false", end),
                                   grammar_.literal("null", end)}));
  const Node list = grammar_.fresh();
  grammar_.link(list, value(grammar_.either({blank(grammar_.byte(']', ']', end)), comma(list)})));
  const Node array_end = grammar_.byte(']', ']', end);
  grammar_.define(array_, grammar_.byte('[', '[', blank(grammar_.either({array_end, list}))));
  const Node map = grammar_.fresh();
  const Node behind = grammar_.either({blank(grammar_.byte('}', '}', end)), comma(map)});
  grammar_.link(map, string(colon(value(behind))));
  const Node object_end = grammar_.byte('}', '}', end);
  grammar_.define(object_, grammar_.byte('{', '{', blank(grammar_.either({object_end, map}))));
}

Grammar::Node JsonGrammar::colon(Node next) {
  return grammar_.byte(':', ':', grammar_.either({next, grammar_.byte(' ', ' ', next)}));
}

Grammar::Node JsonGrammar::comma(Node next) { return grammar_.byte(',', ',', blank(next)); }

Grammar::Node JsonGrammar::string(Node next) {
  return grammar_.byte('"', '"', grammar_.call(text_, next));
}

Grammar::Node JsonGrammar::string(int64_t shortest, std::optional<int64_t> longest, Node next) {
  const Node quote = grammar_.byte('"', '"', next);
  Node rest = longest ? quote : grammar_.call(text_, next);
  for (int64_t i = longest.value_or(shortest); i > 0; --i) {
    const Node more = character(rest, true);
    rest = i > shortest ? grammar_.either({quote, more}) : more;
  }
  return grammar_.byte('"', '"', rest);
}

// One character of a string: UTF-8 as RFC 3629 has it, or an escape. `without`: ASCII characters
// that it may not be.
Grammar::Node JsonGrammar::character(Node next, bool escapes, std::string_view without) {
  std::string barred = "\"\\" + std::string(without);
  std::ranges::sort(barred);
  const Node node = grammar_.fresh();
  int low = 0x20;
  for (const char c : barred) {
    const auto stop = static_cast<uint8_t>(c);
    if (low < stop)
      grammar_.link_byte(node, static_cast<uint8_t>(low), static_cast<uint8_t>(stop - 1), next);
    low = std::max(low, stop + 1);
  }
  grammar_.link_byte(node, static_cast<uint8_t>(low), 0x7f, next);
  const Node one = grammar_.byte(0x80, 0xbf, next);
  const Node two = grammar_.byte(0x80, 0xbf, one);
  const Node three = grammar_.byte(0x80, 0xbf, two);
  grammar_.link_byte(node, 0xc2, 0xdf, one);
  grammar_.link_byte(node, 0xe0, 0xe0, grammar_.byte(0xa0, 0xbf, one));
  grammar_.link_byte(node, 0xe1, 0xec, two);
  grammar_.link_byte(node, 0xed, 0xed, grammar_.byte(0x80, 0x9f, one));
  grammar_.link_byte(node, 0xee, 0xef, two);
  grammar_.link_byte(node, 0xf0, 0xf0, grammar_.byte(0x90, 0xbf, two));
  grammar_.link_byte(node, 0xf1, 0xf3, three);
  grammar_.link_byte(node, 0xf4, 0xf4, grammar_.byte(0x80, 0x8f, two));
  if (escapes) grammar_.link_byte(node, '\\', '\\', escape(next));
  return node;
}

// What follows a backslash. Surrogates come in pairs.
Grammar::Node JsonGrammar::escape(Node next) {
  const Node node = grammar_.fresh();
  for (const char c : std::string_view("\"\\/bfnrt"))
    grammar_.link_byte(node, static_cast<uint8_t>(c), static_cast<uint8_t>(c), next);
  const Node code = grammar_.fresh();
  grammar_.link_byte(node, 'u', 'u', code);
  const Node plain = hex(3, next);
  grammar_.link_byte(code, '0', '9', plain);
  for (const char first : {'a', 'A'}) {
    grammar_.link_byte(code, static_cast<uint8_t>(first), static_cast<uint8_t>(first + 2), plain);
    grammar_.link_byte(code, static_cast<uint8_t>(first + 4), static_cast<uint8_t>(first + 5),
                       plain);
  }
  const Node low = grammar_.fresh();  // behind the d of a low surrogate
  const Node high = grammar_.fresh();
  const Node second = grammar_.fresh();
  for (const char d : {'d', 'D'}) {
    const auto byte = static_cast<uint8_t>(d);
    grammar_.link_byte(code, byte, byte, high);
    grammar_.link_byte(second, byte, byte, low);
  }
  const Node pair = hex(2, grammar_.literal("\\u", second));
  grammar_.link_byte(high, '0', '7', hex(2, next));
  grammar_.link_byte(high, '8', '9', pair);
  const Node last = hex(2, next);
  for (const char first : {'a', 'A'}) {
    const auto byte = static_cast<uint8_t>(first);
    grammar_.link_byte(high, byte, static_cast<uint8_t>(byte + 1), pair);
    grammar_.link_byte(low, static_cast<uint8_t>(byte + 2), static_cast<uint8_t>(byte + 5), last);
  }
  return node;
}

Grammar::Node JsonGrammar::hex(int count, Node next) {
  for (int i = 0; i < count; ++i) {
    const Node node = grammar_.byte('0', '9', next);
    grammar_.link_byte(node, 'a', 'f', next);
    grammar_.link_byte(node, 'A', 'F', next);
    next = node;
  }
  return next;
}

Grammar::Node JsonGrammar::digits(int64_t fewest, int64_t most, Node next) {
  Node rest = next;
  for (int64_t i = most; i > 0; --i) {
    const Node more = grammar_.byte('0', '9', rest);
    rest = i > fewest ? grammar_.either({next, more}) : more;
  }
  return rest;
}

Grammar::Node JsonGrammar::number(Node next) {
  const Node size = digits(1, 2, next);
  const Node exponent_sign =
      grammar_.either({size, grammar_.byte('+', '+', size), grammar_.byte('-', '-', size)});
  const Node exponent = grammar_.either(
      {next, grammar_.byte('e', 'e', exponent_sign), grammar_.byte('E', 'E', exponent_sign)});
  const Node fraction =
      grammar_.either({exponent, grammar_.byte('.', '.', digits(1, 17, exponent))});
  const Node whole = grammar_.either(
      {grammar_.byte('0', '0', fraction), grammar_.byte('1', '9', digits(0, 17, fraction))});
  return grammar_.either({whole, grammar_.byte('-', '-', whole)});
}

Grammar::Node JsonGrammar::integer(int64_t low, int64_t high, Node next) {
  if (low == -kGreatest && high == kGreatest) {
    const Node whole = grammar_.either(
        {grammar_.byte('0', '0', next), grammar_.byte('1', '9', digits(0, 17, next))});
    return grammar_.either({whole, grammar_.byte('-', '-', whole)});
  }
  std::vector<Node> ways;
  if (high >= 0) ways.push_back(positive(std::max<int64_t>(low, 0), high, next));
  if (low < 0) {
    ways.push_back(grammar_.byte('-', '-', positive(std::max<int64_t>(-high, 1), -low, next)));
  }
  return grammar_.either(ways);
}

// 0 <= low <= high: the numbers of each length apart.
Grammar::Node JsonGrammar::positive(int64_t low, int64_t high, Node next) {
  std::vector<Node> ways;
  int64_t first = 0, last = 9;
  for (;;) {
    const int64_t from = std::max(low, first), to = std::min(high, last);
    if (from <= to) ways.push_back(between(std::to_string(from), std::to_string(to), 0, next));
    if (last >= high) break;
    first = last + 1;
    last = last * 10 + 9;
  }
  return grammar_.either(ways);
}

// Digits from place `at` on, of numbers of one length.
Grammar::Node JsonGrammar::between(const std::string& low, const std::string& high, size_t at,
                                   Node next) {
  if (low.find_first_not_of('0', at) == std::string::npos &&
      high.find_first_not_of('9', at) == std::string::npos) {
    const auto free = static_cast<int64_t>(low.size() - at);
    return digits(free, free, next);
  }
  const auto rest = static_cast<int64_t>(low.size() - at - 1);
  const auto from = static_cast<uint8_t>(low[at]), to = static_cast<uint8_t>(high[at]);
  if (from == to) return grammar_.byte(from, to, between(low, high, at + 1, next));
  const std::string nines(low.size(), '9'), zeros(low.size(), '0');
  std::vector<Node> ways{grammar_.byte(from, from, between(low, nines, at + 1, next)),
                         grammar_.byte(to, to, between(zeros, high, at + 1, next))};
  if (from + 1 < to) {
    ways.push_back(grammar_.byte(static_cast<uint8_t>(from + 1), static_cast<uint8_t>(to - 1),
                                 digits(rest, rest, next)));
  }
  return grammar_.either(ways);
}

Grammar::Node JsonGrammar::other_key(const std::vector<std::string>& names, Node next) {
  return grammar_.byte('"', '"', other_name(names, next));
}

// The rest of a key of which `names` are what would make it one of the known ones. As long as it
// could still become one, escapes are not allowed: they could spell it.
Grammar::Node JsonGrammar::other_name(std::vector<std::string> names, Node next) {
  if (names.empty()) return grammar_.call(text_, next);
  std::map<char, std::vector<std::string>> by_first;
  bool complete = false;
  for (const std::string& name : names) {
    if (name.empty())
      complete = true;
    else
      by_first[name[0]].push_back(name.substr(1));
  }
  std::vector<Node> ways;
  std::string starts;
  for (auto& [first, rests] : by_first) {
    const auto byte = static_cast<uint8_t>(first);
    if (byte < 0x80) {
      starts += first;
      ways.push_back(grammar_.byte(byte, byte, other_name(std::move(rests), next)));
    }
  }
  // Names that go on beyond ASCII are told apart from others by their first byte alone.
  const bool beyond =
      std::ranges::any_of(by_first, [](const auto& way) { return (way.first & 0x80) != 0; });
  if (!beyond) ways.push_back(character(grammar_.call(text_, next), false, starts));
  if (beyond) {
    const Node ascii = grammar_.fresh();
    const Node rest = grammar_.call(text_, next);
    for (int c = 0x20; c < 0x80; ++c) {
      const auto byte = static_cast<uint8_t>(c);
      if (c != '"' && c != '\\' && starts.find(static_cast<char>(c)) == std::string::npos)
        grammar_.link_byte(ascii, byte, byte, rest);
    }
    ways.push_back(ascii);
  }
  if (!complete) ways.push_back(grammar_.byte('"', '"', next));
  return grammar_.either(ways);
}

}  // namespace dinfer
