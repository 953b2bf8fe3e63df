#include "grammar/grammar_machine.h"

#include <algorithm>
#include <utility>

namespace dinfer {

namespace {

uint64_t pair_key(int32_t high, int32_t low) {
  return uint64_t{static_cast<uint32_t>(high)} << 32 | static_cast<uint32_t>(low);
}

}  // namespace

GrammarMachine::GrammarMachine(const Grammar& grammar) : grammar_(grammar) {
  frames_.push_back({-1, -1, 0});
  state_of({});  // kDead
  start_ = state_of({{grammar.start(), 0}});
}

GrammarMachine::State GrammarMachine::find_step(State state, uint8_t byte) {
  std::vector<Place> reached;
  for (const Place& place : data(state).places) {
    for (const Grammar::ByteEdge& edge : grammar_.node(place.node).bytes) {
      if (edge.low <= byte && byte <= edge.high) reached.push_back({edge.to, place.frame});
    }
  }
  const State next = state_of(std::move(reached));
  states_[static_cast<size_t>(state)].next[byte] = next;
  return next;
}

// The state of all that can be reached from these places without a byte.
GrammarMachine::State GrammarMachine::state_of(std::vector<Place> begin) {
  std::unordered_set<uint64_t> seen;
  StateData found;
  while (!begin.empty()) {
    const Place place = begin.back();
    begin.pop_back();
    if (!seen.insert(pair_key(place.node, place.frame)).second) continue;
    if (seen.size() > kMostPlaces) return kDead;
    if (!grammar_.node(place.node).bytes.empty()) found.places.push_back(place);
    follow(place, begin, found.accepts);
  }
  std::ranges::sort(found.places);

  size_t hash = found.accepts ? 1 : 0;
  for (const Place& place : found.places)
    hash = (hash ^ pair_key(place.node, place.frame)) * 0x100000001b3u;
  for (auto [at, last] = by_hash_.equal_range(hash); at != last; ++at) {
    const StateData& known = data(at->second);
    if (known.accepts == found.accepts && known.places == found.places) return at->second;
  }
  found.next.fill(found.places.empty() ? kDead : -1);
  places_ += found.places.size();
  states_.push_back(std::move(found));
  const auto id = static_cast<State>(states_.size() - 1);
  by_hash_.emplace(hash, id);
  return id;
}

// Where one goes from `place` without a byte.
void GrammarMachine::follow(const Place& place, std::vector<Place>& found, bool& accepts) {
  const Grammar::NodeData& node = grammar_.node(place.node);
  for (const Grammar::Node to : node.jumps) found.push_back({to, place.frame});
  if (node.rule >= 0) {
    // A call that is the last thing its rule does needs no way back to it.
    const int32_t frame = is_bare_end(node.after) ? place.frame : frame_of(node.after, place.frame);
    if (frame >= 0) found.push_back({grammar_.start_of(node.rule), frame});
  }
  if (!node.end) return;
  if (place.frame == 0) {
    accepts = true;
  } else {
    const Frame& frame = frames_[static_cast<size_t>(place.frame)];
    found.push_back({frame.node, frame.parent});
  }
}

bool GrammarMachine::is_bare_end(int32_t node) const {
  const Grammar::NodeData& data = grammar_.node(node);
  return data.end && data.bytes.empty() && data.jumps.empty() && data.rule < 0;
}

// -1: too deep.
int32_t GrammarMachine::frame_of(int32_t node, int32_t parent) {
  const int32_t depth = frames_[static_cast<size_t>(parent)].depth + 1;
  if (depth > kDeepest) return -1;
  const auto [at, added] =
      frame_ids_.try_emplace(pair_key(node, parent), static_cast<int32_t>(frames_.size()));
  if (added) frames_.push_back({node, parent, depth});
  return at->second;
}

}  // namespace dinfer
