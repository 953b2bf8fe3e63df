#include "grammar/pattern_grammar.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "grammar/regex.h"

namespace dinfer {

namespace {

using Node = Grammar::Node;

constexpr std::array<uint32_t, 4> kLastOfLength{0x7f, 0x7ff, 0xffff, kLastCharacter};

std::string utf8(uint32_t code, size_t length) {
  if (length == 1) return {static_cast<char>(code)};
  std::string bytes;
  for (size_t i = length; i-- > 1; code >>= 6)
    bytes.insert(bytes.begin(), static_cast<char>(0x80 | (code & 0x3f)));
  constexpr std::array<uint32_t, 5> kLead{0, 0, 0xc0, 0xe0, 0xf0};
  bytes.insert(bytes.begin(), static_cast<char>(kLead[length] | code));
  return bytes;
}

// Texts that a pattern allows, inside the quotes of a JSON string: an automaton of its own. Nodes
// at which a character begins are marked.
class PatternGraph {
 public:
  explicit PatternGraph(const SchemaPattern& pattern) : end_(graph_.end()) {
    const CharSet any = complement({});
    std::vector<Node> ways;
    for (const SchemaPattern::Way& way : pattern.ways) {
      Node node = way.to_end ? end_ : star(set(any), end_);
      node = add(way.regex, node);
      ways.push_back(way.from_begin ? node : star(set(any), node));
    }
    start_ = graph_.either(ways);
  }

  // The same automaton in `grammar`, for texts of such lengths.
  Node copy_to(Grammar& grammar, const TextLength& length, Node next) const;

 private:
  static Regex set(const CharSet& set) { return {.kind = Regex::Kind::set, .set = set}; }

  Node add(const Regex& regex, Node next);
  Node star(const Regex& regex, Node next) {
    const Node loop = graph_.fresh();
    graph_.link(loop, next);
    graph_.link(loop, add(regex, loop));
    return loop;
  }
  Node add_repeat(const Regex& regex, Node next);
  Node add_character(const CharSet& set, Node next);
  void add_plain(uint32_t from, uint32_t to, Node node, Node next);
  void add_bytes(const std::string& low, const std::string& high, size_t at, Node node, Node next);

  Grammar graph_;
  std::set<Node> characters_;
  Node end_, start_;
};

Node PatternGraph::add(const Regex& regex, Node next) {
  switch (regex.kind) {
    case Regex::Kind::set:
      return add_character(regex.set, next);
    case Regex::Kind::sequence:
      for (size_t i = regex.parts.size(); i-- > 0;) next = add(regex.parts[i], next);
      return next;
    case Regex::Kind::choice: {
      if (regex.parts.size() == 1) return add(regex.parts[0], next);
      std::vector<Node> ways;
      for (const Regex& part : regex.parts) ways.push_back(add(part, next));
      return graph_.either(ways);
    }
    case Regex::Kind::repeat:
      return add_repeat(regex, next);
  }
  return next;
}

Node PatternGraph::add_repeat(const Regex& regex, Node next) {
  const Regex& part = regex.parts[0];
  Node node = regex.most < 0 ? star(part, next) : next;
  for (int i = std::max(regex.most, regex.fewest); i > 0; --i) {
    const Node once = add(part, node);
    if (once == node) break;  // the empty text, however often
    node = i > regex.fewest ? graph_.either({next, once}) : once;
  }
  return node;
}

// One character of the set, as JSON writes it.
Node PatternGraph::add_character(const CharSet& set, Node next) {
  constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
  const Node node = graph_.fresh();
  characters_.insert(node);
  for (auto [from, to] : set) {
    while (from <= to && from <= '\\') {
      const size_t letter = kEscaped.find(static_cast<char>(from));
      if (letter != std::string_view::npos)
        graph_.link(node, graph_.literal(std::string("\\") + kLetters[letter], next));
      else if (from < 0x20)
        graph_.link(node, graph_.literal(fmt::format("\\u{:04x}", from), next));
      if (letter != std::string_view::npos || from < 0x20) {
        ++from;
        continue;
      }
      const uint32_t last = std::min<uint32_t>(to, from < '"' ? '"' - 1 : '\\' - 1);
      graph_.link_byte(node, static_cast<uint8_t>(from), static_cast<uint8_t>(last), next);
      from = last + 1;
    }
    if (from <= to) add_plain(from, to, node, next);
  }
  return node;
}

// Characters that JSON does not escape, by the lengths of their UTF-8.
void PatternGraph::add_plain(uint32_t from, uint32_t to, Node node, Node next) {
  for (size_t length = 1; length <= kLastOfLength.size() && from <= to; ++length) {
    const uint32_t last = std::min(to, kLastOfLength[length - 1]);
    if (from > last) continue;
    add_bytes(utf8(from, length), utf8(last, length), 0, node, next);
    from = last + 1;
  }
}

// Byte strings of one length between two.
void PatternGraph::add_bytes(const std::string& low, const std::string& high, size_t at, Node node,
                             Node next) {
  const auto first = static_cast<uint8_t>(low[at]), last = static_cast<uint8_t>(high[at]);
  if (at + 1 == low.size()) return graph_.link_byte(node, first, last, next);
  const std::string least(low.size(), '\x80'), greatest(low.size(), '\xbf');
  const auto branch = [&](int from, int to, const std::string& rest_low,
                          const std::string& rest_high) {
    if (from > to) return;
    const Node rest = graph_.fresh();
    graph_.link_byte(node, static_cast<uint8_t>(from), static_cast<uint8_t>(to), rest);
    add_bytes(rest_low, rest_high, at + 1, rest, next);
  };
  if (first == last) return branch(first, last, low, high);
  branch(first, first, low, greatest);
  branch(first + 1, last - 1, least, greatest);
  branch(last, last, least, high);
}

Node PatternGraph::copy_to(Grammar& grammar, const TextLength& length, Node next) const {
  // A node with the number of characters that have begun before it, as far as it matters.
  using Place = std::pair<Node, int64_t>;
  const int64_t counted = length.most ? *length.most + 1 : length.fewest;
  std::map<Place, Node> copies;
  std::vector<Place> open;
  const auto copy = [&](const Place& place) {
    const auto [at, added] = copies.try_emplace(place, -1);
    if (!added) return at->second;
    at->second = grammar.fresh();
    open.push_back(place);
    return at->second;
  };
  const Node start = copy({start_, 0});
  while (!open.empty()) {
    const auto [node, before] = open.back();
    open.pop_back();
    const Node made = copies.at({node, before});
    const int64_t count = characters_.contains(node) ? std::min(before + 1, counted) : before;
    if (length.most && count > *length.most) continue;
    const Grammar::NodeData& data = graph_.node(node);
    if (data.end && count >= length.fewest) grammar.link(made, next);
    for (const Node to : data.jumps) grammar.link(made, copy({to, count}));
    for (const Grammar::ByteEdge& edge : data.bytes)
      grammar.link_byte(made, edge.low, edge.high, copy({edge.to, count}));
  }
  return start;
}

}  // namespace

Node add_pattern(std::string_view pattern, const TextLength& length, Grammar& grammar, Node next) {
  const PatternGraph graph(parse_pattern(pattern));
  const Node text = graph.copy_to(grammar, length, grammar.byte('"', '"', next));
  return grammar.byte('"', '"', text);
}

std::optional<std::string> pattern_of_format(std::string_view format) {
  // RFC 3339, without leap seconds; years from 1 on, as programs have them.
  const std::string year = R"((?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3}))";
  const std::string leap =
      R"((?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00))";
  const std::string date =
      "(?:" + year +
      R"(-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|)" +
      R"(02-(?:0[1-9]|1\d|2[0-8]))|)" + leap + "-02-29)";
  const std::string hour = R"((?:[01]\d|2[0-3]))";
  const std::string zone = "(?:Z|[+-]" + hour + R"(:[0-5]\d))";
  const std::string time = hour + R"(:[0-5]\d:[0-5]\d(?:\.\d{1,6})?)" + zone;
  const std::string label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?";
  const std::string host = "(?:" + label + R"(\.){1,4}[A-Za-z]{2,16})";
  const std::string octet = R"((?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d))";
  const std::string ipv4 = "(?:" + octet + R"(\.){3})" + octet;
  const std::string h = "[0-9a-fA-F]{1,4}";
  std::string ipv6 = fmt::format("(?:{0}:){{7}}{0}|(?:{0}:){{1,7}}:|::|:(?::{0}){{1,7}}", h);
  for (int left = 1; left <= 6; ++left)
    ipv6 += fmt::format("|(?:{0}:){{{1}}}(?::{0}){{1,{2}}}", h, left, 7 - left);
  const std::string path = R"((?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2}))";
  const std::string n = R"(\d{1,6})";
  const std::string days = fmt::format("(?:{0}Y(?:{0}M(?:{0}D)?)?|{0}M(?:{0}D)?|{0}D)", n);
  const std::string hours = fmt::format("T(?:{0}H(?:{0}M(?:{0}S)?)?|{0}M(?:{0}S)?|{0}S)", n);

  const std::map<std::string_view, std::string> patterns{
      {"date", date},
      {"time", time},
      {"date-time", date + "T" + time},
      {"duration", fmt::format("P(?:{}(?:{})?|{}|{}W)", days, hours, hours, n)},
      {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
      {"email", R"([A-Za-z0-9_+-]{1,30}(?:\.[A-Za-z0-9_+-]{1,10}){0,2}@)" + host},
      {"hostname", host},
      {"ipv4", ipv4},
      {"ipv6", ipv6},
      {"uri",
       fmt::format(R"((?:https?|ftp)://(?:{0}|{1})(?::[1-9]\d{{0,3}})?(?:/{2}{{0,60}}){{0,8}})"
                   R"((?:\?{2}{{0,100}})?(?:#{2}{{0,60}})?)",
                   host, ipv4, path)}};
  const auto found = patterns.find(format);
  if (found == patterns.end()) return std::nullopt;
  return "^(?:" + found->second + ")$";
}

}  // namespace dinfer
