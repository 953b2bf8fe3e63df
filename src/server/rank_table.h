#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/rank_figures.h"

namespace dinfer {

// What a rank is, for as long as the server runs.
struct RankPlace {
  std::string host, device;
  std::string units;  // of the model, as in the log
  uint64_t weight_bytes = 0, kv_bytes = 0, activation_bytes = 0;
};

// What ranks did: since the start, and lately.
struct RankSummary {
  std::vector<RankFigures> total;   // by rank, as all that follows
  std::vector<RankFigures> window;  // in the last reports that have steps
  std::optional<int> straggler;     // the rank that the others wait for
};

// Keeps what ranks reported of themselves, and finds the one that holds the others up.
class RankTable {
 public:
  void take(const std::vector<RankFigures>& ranks);
  RankSummary summary() const;

  // So many reports, about a second each.
  static constexpr size_t kWindow = 10;
  // The straggler takes so many times as long for its own work as the others do on average, and
  // longer by that share of a step.
  static constexpr double kSlower = 1.25;
  static constexpr double kShareOfStep = 0.05;
  static constexpr uint64_t kFewestSteps = 8;

 private:
  std::vector<RankFigures> last_;
  std::deque<std::vector<RankFigures>> changes_;  // from report to report
};

// The table as JSON: docs/SERVER.md has its fields. Ranks that told nothing yet have only a place.
OrderedJson describe(const RankSummary& summary, const std::vector<RankPlace>& places);

}  // namespace dinfer
