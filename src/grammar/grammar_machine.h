#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "grammar/grammar.h"

namespace dinfer {

// Reads a text byte by byte and knows whether the grammar allows it. A state is the set of all
// places of the grammar where the text may have come to, each with the calls to return to; states
// and the steps between them are found once and kept. Not thread-safe.
class GrammarMachine {
 public:
  using State = int32_t;
  static constexpr State kDead = 0;  // no text of the grammar begins so

  // The grammar outlives the machine.
  explicit GrammarMachine(const Grammar& grammar);

  State start() const { return start_; }
  State step(State state, uint8_t byte) {
    const State known = states_[static_cast<size_t>(state)].next[byte];
    return known >= 0 ? known : find_step(state, byte);
  }
  bool accepts(State state) const { return data(state).accepts; }          // the text may end here
  bool goes_on(State state) const { return !data(state).places.empty(); }  // bytes may follow
  size_t states() const { return states_.size(); }
  size_t places() const { return places_; }  // of all states

  // Deeper calls are not followed: texts that need them are not allowed.
  static constexpr int32_t kDeepest = 200;
  // Nor are texts that can have come to more places at once.
  static constexpr size_t kMostPlaces = 2048;

 private:
  // `frame` is what is left to do once the rule at work has ended; 0: nothing.
  struct Place {
    int32_t node, frame;
    auto operator<=>(const Place&) const = default;
  };
  struct Frame {
    int32_t node, parent, depth;
  };
  struct StateData {
    std::vector<Place> places;  // with ways on by bytes, ascending
    bool accepts = false;
    std::array<State, 256> next;
  };

  const StateData& data(State state) const { return states_[static_cast<size_t>(state)]; }
  State find_step(State state, uint8_t byte);
  State state_of(std::vector<Place> begin);
  void follow(const Place& place, std::vector<Place>& found, bool& accepts);
  bool is_bare_end(int32_t node) const;
  int32_t frame_of(int32_t node, int32_t parent);

  const Grammar& grammar_;
  std::deque<StateData> states_;
  std::unordered_multimap<size_t, State> by_hash_;
  std::vector<Frame> frames_;
  std::unordered_map<uint64_t, int32_t> frame_ids_;
  State start_ = kDead;
  size_t places_ = 0;
};

}  // namespace dinfer
