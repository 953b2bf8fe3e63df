#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dinfer {

// A set of texts, as bytes: a graph of nodes in which every path from the start to an end spells a
// text. A node may go on by bytes, without any, or by a rule: a part of the graph that is entered,
// and left at its end for where it was called from, so that parts can nest.
//
// Graphs are built from their end: each function takes the node that follows, and returns the one
// that begins.
class Grammar {
 public:
  using Node = int32_t;
  using Rule = int32_t;

  struct ByteEdge {
    uint8_t low, high;
    Node to;
  };
  struct NodeData {
    std::vector<ByteEdge> bytes;
    std::vector<Node> jumps;
    Rule rule = -1;   // called
    Node after = -1;  // where the call returns to
    bool end = false;
  };

  // The end of a rule or of the whole text.
  Node end();
  Node literal(std::string_view text, Node next);
  // One of the texts; what they begin with alike is there once, so that there may be thousands.
  Node literals(std::vector<std::string> texts, Node next);
  Node byte(uint8_t low, uint8_t high, Node next);
  Node either(std::span<const Node> nodes);
  Node either(std::initializer_list<Node> nodes) { return either({nodes.begin(), nodes.size()}); }
  Node call(Rule rule, Node next);

  // For loops: a node whose ways out follow.
  Node fresh();
  void link(Node from, Node to) { nodes_[static_cast<size_t>(from)].jumps.push_back(to); }
  void link_byte(Node from, uint8_t low, uint8_t high, Node to) {
    nodes_[static_cast<size_t>(from)].bytes.push_back({low, high, to});
  }

  Rule declare();
  void define(Rule rule, Node start) { rules_[static_cast<size_t>(rule)] = start; }

  void set_start(Node start) { start_ = start; }
  Node start() const { return start_; }
  Node start_of(Rule rule) const { return rules_[static_cast<size_t>(rule)]; }
  const NodeData& node(Node node) const { return nodes_[static_cast<size_t>(node)]; }
  size_t size() const { return nodes_.size(); }

  // Error(usage) beyond so many nodes.
  static constexpr size_t kMostNodes = 100'000;

 private:
  std::vector<NodeData> nodes_;
  std::vector<Node> rules_;
  Node start_ = -1;
};

}  // namespace dinfer
