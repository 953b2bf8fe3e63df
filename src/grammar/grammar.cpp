#include "grammar/grammar.h"

#include <algorithm>

#include "base/error.h"

namespace dinfer {

Grammar::Node Grammar::fresh() {
  if (nodes_.size() >= kMostNodes) {
    fail(ExitCode::usage, "it is too large: it needs more than {} grammar nodes", kMostNodes);
  }
  nodes_.emplace_back();
  return static_cast<Node>(nodes_.size() - 1);
}

Grammar::Node Grammar::end() {
  const Node node = fresh();
  nodes_.back().end = true;
  return node;
}

Grammar::Node Grammar::literal(std::string_view text, Node next) {
  for (size_t i = text.size(); i-- > 0;) {
    const auto value = static_cast<uint8_t>(text[i]);
    next = byte(value, value, next);
  }
  return next;
}

Grammar::Node Grammar::literals(std::vector<std::string> texts, Node next) {
  std::ranges::sort(texts);
  const Node start = fresh();
  std::vector<Node> way;  // after each byte of the text before
  std::string_view before;
  for (const std::string& text : texts) {
    const auto parts = std::ranges::mismatch(before, text);
    way.resize(static_cast<size_t>(parts.in1 - before.begin()));
    for (size_t i = way.size(); i < text.size(); ++i) {
      const Node from = way.empty() ? start : way.back();
      const auto value = static_cast<uint8_t>(text[i]);
      way.push_back(fresh());
      link_byte(from, value, value, way.back());
    }
    link(way.empty() ? start : way.back(), next);
    before = text;
  }
  return start;
}

Grammar::Node Grammar::byte(uint8_t low, uint8_t high, Node next) {
  const Node node = fresh();
  link_byte(node, low, high, next);
  return node;
}

Grammar::Node Grammar::either(std::span<const Node> nodes) {
  const Node node = fresh();
  nodes_.back().jumps.assign(nodes.begin(), nodes.end());
  return node;
}

Grammar::Node Grammar::call(Rule rule, Node next) {
  const Node node = fresh();
  nodes_.back().rule = rule;
  nodes_.back().after = next;
  return node;
}

Grammar::Rule Grammar::declare() {
  rules_.push_back(-1);
  return static_cast<Rule>(rules_.size() - 1);
}

}  // namespace dinfer
