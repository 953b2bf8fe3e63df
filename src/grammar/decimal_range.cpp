#include "grammar/decimal_range.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"

namespace dinfer {

namespace {

using Node = Grammar::Node;

constexpr double kGreatest = 1e15;
constexpr int kDigits = 15;  // that a double tells apart

// A number that is not negative: digits before and behind its point.
struct Decimal {
  int64_t whole = 0;
  std::string fraction;  // without zeros at its end
  bool open = false;     // the number itself is not meant
};

Decimal decimal_of(double value, bool open) {
  std::array<char, 64> text;  // the shortest that reads as the same double
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc{}) fail(ExitCode::usage, "{} is no border for numbers", value);
  const std::string_view digits(text.data(), static_cast<size_t>(end - text.data()));
  const size_t point = digits.find('.');
  Decimal decimal{.open = open};
  std::from_chars(digits.data(), digits.data() + std::min(point, digits.size()), decimal.whole);
  if (point != std::string_view::npos) decimal.fraction = digits.substr(point + 1);
  return decimal;
}

class Decimals {
 public:
  Decimals(Grammar& grammar, JsonGrammar& json, int places, Node next)
      : grammar_(grammar), json_(json), places_(places), next_(next) {}

  // Numbers from `low` to `high`, neither of them negative; -1: there is none.
  Node between(const Decimal& low, const Decimal& high) {
    std::vector<Node> ways;
    if (low.whole == high.whole) {
      add(ways, low.whole, fraction(&low, &high));
    } else if (low.whole < high.whole) {
      add(ways, low.whole, fraction(&low, nullptr));
      if (low.whole + 1 < high.whole)
        ways.push_back(json_.integer(low.whole + 1, high.whole - 1, fraction(nullptr, nullptr)));
      add(ways, high.whole, fraction(nullptr, &high));
    }
    return ways.empty() ? -1 : grammar_.either(ways);
  }

 private:
  void add(std::vector<Node>& ways, int64_t whole, Node fraction) {
    if (fraction >= 0) ways.push_back(grammar_.literal(std::to_string(whole), fraction));
  }

  // The point with what is behind it, or nothing, where the part before it is that of the borders.
  Node fraction(const Decimal* low, const Decimal* high) {
    std::vector<Node> ways;
    if (fits("", low, high)) ways.push_back(next_);
    const Node behind = digits("", low, high);
    if (behind >= 0) ways.push_back(grammar_.byte('.', '.', behind));
    return ways.empty() ? -1 : grammar_.either(ways);
  }

  // At least one digit more behind `seen`, which is how the borders that are left begin.
  Node digits(const std::string& seen, const Decimal* low, const Decimal* high) {
    if (static_cast<int>(seen.size()) == places_) return -1;
    std::vector<Node> ways;
    const char first = low ? digit(*low, seen.size()) : '0';
    const char last = high ? digit(*high, seen.size()) : '9';
    for (char c = first; c <= last; ++c) {
      const bool middle = (!low || c > first) && (!high || c < last);
      if (middle) {
        const char to = high ? static_cast<char>(last - 1) : last;
        ways.push_back(grammar_.byte(static_cast<uint8_t>(c), static_cast<uint8_t>(to),
                                     any_digits(places_ - static_cast<int>(seen.size()) - 1)));
        c = to;
        continue;
      }
      const Decimal* lower = low && c == first ? low : nullptr;
      const Decimal* upper = high && c == last ? high : nullptr;
      std::vector<Node> rest;
      const std::string now = seen + c;
      if (fits(now, lower, upper)) rest.push_back(next_);
      const Node more = digits(now, lower, upper);
      if (more >= 0) rest.push_back(more);
      if (rest.empty()) continue;
      const auto byte = static_cast<uint8_t>(c);
      ways.push_back(grammar_.byte(byte, byte, grammar_.either(rest)));
    }
    return ways.empty() ? -1 : grammar_.either(ways);
  }

  Node any_digits(int most) {
    Node node = next_;
    for (int i = 0; i < most; ++i) node = grammar_.either({next_, grammar_.byte('0', '9', node)});
    return node;
  }

  static char digit(const Decimal& decimal, size_t place) {
    return place < decimal.fraction.size() ? decimal.fraction[place] : '0';
  }

  // Whether a fraction that begins as its borders do may end after `seen`.
  static bool fits(const std::string& seen, const Decimal* low, const Decimal* high) {
    const auto rest_is_zero = [&](const Decimal& decimal) {
      return decimal.fraction.find_first_not_of(
                 '0', std::min(seen.size(), decimal.fraction.size())) == std::string::npos;
    };
    if (low && (!rest_is_zero(*low) || low->open)) return false;
    return !high || !rest_is_zero(*high) || !high->open;
  }

  Grammar& grammar_;
  JsonGrammar& json_;
  int places_;
  Node next_;
};

}  // namespace

Grammar::Node add_decimals(const std::optional<DecimalBound>& low,
                           const std::optional<DecimalBound>& high, Grammar& grammar,
                           JsonGrammar& json, Grammar::Node next) {
  const DecimalBound from = low && low->value >= -kGreatest ? *low : DecimalBound{-kGreatest};
  const DecimalBound to = high && high->value <= kGreatest ? *high : DecimalBound{kGreatest};
  // Digits before the point leave fewer behind it.
  const double widest = std::max(low ? std::fabs(from.value) : 1, high ? std::fabs(to.value) : 1);
  if (!(widest <= kGreatest)) fail(ExitCode::usage, "there are no bounds beyond 10^15");
  const int whole_digits = static_cast<int>(std::to_string(static_cast<int64_t>(widest)).size());
  Decimals decimals(grammar, json, std::max(1, kDigits - whole_digits), next);
  std::vector<Node> ways;
  if (to.value >= 0) {
    const DecimalBound floor = from.value < 0 ? DecimalBound{} : from;
    const Node positive =
        decimals.between(decimal_of(floor.value, floor.open), decimal_of(to.value, to.open));
    if (positive >= 0) ways.push_back(positive);
  }
  if (from.value < 0) {
    const DecimalBound floor = to.value > 0 ? DecimalBound{} : DecimalBound{-to.value, to.open};
    const Node negative =
        decimals.between(decimal_of(floor.value, floor.open), decimal_of(-from.value, from.open));
    if (negative >= 0) ways.push_back(grammar.byte('-', '-', negative));
  }
  if (ways.empty()) fail(ExitCode::usage, "no number is within its bounds");
  return grammar.either(ways);
}

}  // namespace dinfer
