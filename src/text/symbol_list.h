#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace dinfer {

// A part of a piece while neighbours are being merged: a doubly linked list inside a vector.
struct Symbol {
  int32_t id = -1;
  uint32_t begin = 0;  // bytes in the piece
  uint32_t bytes = 0;  // 0: merged into its left neighbour
  int32_t previous = -1;
  int32_t next = -1;
};

class SymbolList {
 public:
  void clear() { symbols_.clear(); }
  void reserve(size_t count) { symbols_.reserve(count); }

  void push(int32_t id, uint32_t begin, uint32_t bytes) {
    const auto at = static_cast<int32_t>(symbols_.size());
    if (at > 0) symbols_.back().next = at;
    symbols_.push_back({id, begin, bytes, at - 1, -1});
  }

  // The symbol at `at` takes in its right neighbour.
  void merge(int32_t at, int32_t id) {
    Symbol& left = symbols_[static_cast<size_t>(at)];
    Symbol& right = symbols_[static_cast<size_t>(left.next)];
    left.id = id;
    left.bytes += right.bytes;
    right.bytes = 0;
    left.next = right.next;
    if (right.next >= 0) symbols_[static_cast<size_t>(right.next)].previous = at;
  }

  const Symbol& operator[](int32_t at) const { return symbols_[static_cast<size_t>(at)]; }
  int32_t size() const { return static_cast<int32_t>(symbols_.size()); }

 private:
  std::vector<Symbol> symbols_;
};

// A possible merge of the symbol `at` with its right neighbour.
struct MergeCandidate {
  double rank = 0;  // the lowest merges first; of equal ones the leftmost
  int32_t at = 0;
  int32_t merged = 0;
};

// Merges neighbours until none will. `find(left, right)` gives rank and merged id for two
// neighbouring symbols in an optional MergeCandidate. O(n log n) for n symbols.
template <class Find>
void merge_all(SymbolList& symbols, std::vector<MergeCandidate>& heap, const Find& find) {
  const auto later = [](const MergeCandidate& a, const MergeCandidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  const auto candidate_at = [&](int32_t at) {
    auto candidate = find(symbols[at], symbols[symbols[at].next]);
    if (candidate) candidate->at = at;
    return candidate;
  };
  heap.clear();
  for (int32_t at = 0; at + 1 < symbols.size(); ++at) {
    if (const auto candidate = candidate_at(at)) heap.push_back(*candidate);
  }
  std::make_heap(heap.begin(), heap.end(), later);
  const auto push = [&](int32_t at) {
    const auto candidate = candidate_at(at);
    if (!candidate) return;
    heap.push_back(*candidate);
    std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const MergeCandidate best = heap.back();
    heap.pop_back();
    if (symbols[best.at].bytes == 0 || symbols[best.at].next < 0) continue;
    const auto now = candidate_at(best.at);
    if (!now || now->merged != best.merged) continue;  // a neighbour has changed since
    symbols.merge(best.at, best.merged);
    if (symbols[best.at].previous >= 0) push(symbols[best.at].previous);
    if (symbols[best.at].next >= 0) push(best.at);
  }
}

}  // namespace dinfer
