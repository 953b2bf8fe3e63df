#include "server/rank_table.h"

#include <algorithm>

namespace dinfer {
namespace {

// `sum` and what was done between two reports of a rank.
RankFigures plus(const RankFigures& sum, const RankFigures& before, const RankFigures& after) {
  return {.pid = after.pid,
          .steps = sum.steps + after.steps - before.steps,
          .step_s = sum.step_s + after.step_s - before.step_s,
          .collective_s = sum.collective_s + after.collective_s - before.collective_s,
          .plan_wait_s = sum.plan_wait_s + after.plan_wait_s - before.plan_wait_s,
          .moved_bytes = sum.moved_bytes + after.moved_bytes - before.moved_bytes,
          .memory_bytes = after.memory_bytes};
}

std::optional<int> find_straggler(const std::vector<RankFigures>& ranks) {
  if (ranks.size() < 2) return std::nullopt;
  const auto slowest = std::ranges::max_element(ranks, {}, &RankFigures::compute_s);
  double all = 0;
  for (const RankFigures& rank : ranks) all += rank.compute_s();
  const double most = slowest->compute_s();
  const double others = (all - most) / static_cast<double>(ranks.size() - 1);
  const bool stands_out = slowest->steps >= RankTable::kFewestSteps &&
                          most >= RankTable::kSlower * others &&
                          most - others >= RankTable::kShareOfStep * slowest->step_s;
  if (!stands_out) return std::nullopt;
  return static_cast<int>(slowest - ranks.begin());
}

void put_figures(OrderedJson& row, const RankFigures& done) {
  const double steps = std::max<double>(1, static_cast<double>(done.steps));
  row["steps"] = done.steps;
  row["step_ms"] = 1000 * done.step_s / steps;
  row["compute_ms"] = 1000 * done.compute_s() / steps;
  row["collective_ms"] = 1000 * done.collective_s / steps;
  row["plan_wait_ms"] = 1000 * done.plan_wait_s / steps;
  row["moved_bytes"] = done.moved_bytes;
}

}  // namespace

void RankTable::take(const std::vector<RankFigures>& ranks) {
  last_.resize(ranks.size());  // the first report is of all since the start
  // Reports without steps are of idle ranks: what they waited is nobody's fault.
  if (ranks[0].steps > last_[0].steps) {
    std::vector<RankFigures> changes;
    for (size_t rank = 0; rank < ranks.size(); ++rank)
      changes.push_back(plus({}, last_[rank], ranks[rank]));
    changes_.push_back(std::move(changes));
    if (changes_.size() > kWindow) changes_.pop_front();
  }
  last_ = ranks;
}

RankSummary RankTable::summary() const {
  RankSummary result{.total = last_, .window = std::vector<RankFigures>(last_.size())};
  for (const std::vector<RankFigures>& changes : changes_)
    for (size_t rank = 0; rank < changes.size(); ++rank)
      result.window[rank] = plus(result.window[rank], {}, changes[rank]);
  result.straggler = find_straggler(result.window);
  return result;
}

OrderedJson describe(const RankSummary& summary, const std::vector<RankPlace>& places) {
  OrderedJson rows = OrderedJson::array();
  for (size_t rank = 0; rank < places.size(); ++rank) {
    const RankPlace& place = places[rank];
    OrderedJson row{{"rank", rank},
                    {"host", place.host},
                    {"device", place.device},
                    {"units", place.units},
                    {"weight_bytes", place.weight_bytes},
                    {"kv_bytes", place.kv_bytes},
                    {"activation_bytes", place.activation_bytes}};
    if (rank < summary.total.size()) {
      row["pid"] = summary.total[rank].pid;
      row["memory_bytes"] = summary.total[rank].memory_bytes;
      row["steps_total"] = summary.total[rank].steps;
      put_figures(row, summary.window[rank]);
    }
    rows.push_back(std::move(row));
  }
  OrderedJson table{{"straggler", nullptr}, {"rows", std::move(rows)}};
  if (summary.straggler) table["straggler"] = *summary.straggler;
  return table;
}

}  // namespace dinfer
