#include "cli/plan_report.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/build_info.h"
#include "base/json.h"
#include "cli/start_layout.h"

namespace dinfer {
namespace {

// Ranks that a table lists; a job has as many as it likes.
constexpr size_t kMostLines = 64;

std::string size_text(uint64_t bytes) { return gibibytes(static_cast<double>(bytes)); }

const PlannedDevice& device_of(const PlanReport& report, const LayoutChoice& candidate,
                               size_t rank) {
  return report.machines.devices[static_cast<size_t>(candidate.devices[rank])];
}

std::string rank_lines(const PlanReport& report, const PlannedLayout& layout) {
  std::string text;
  const auto& memory = layout.evaluation.memory;
  for (size_t rank = 0; rank < std::min(memory.size(), kMostLines); ++rank) {
    const RankMemory& own = memory[rank];
    const auto blocks = static_cast<uint64_t>(layout.evaluation.kv.blocks);
    text += fmt::format(
        "rank {}: node={} device={} units={} weights={} activations={} kv={} free={}\n", rank,
        device_of(report, layout.candidate, rank).node, own.device,
        units_text(layout.candidate.shard_of(static_cast<int>(rank)), report.layers),
        size_text(own.weights), size_text(own.working(layout.evaluation.kv.max_seq_len)),
        size_text(blocks * own.kv_block), size_text(own.free));
  }
  if (memory.size() > kMostLines)
    text += fmt::format("... and {} more\n", memory.size() - kMostLines);
  return text;
}

// Of all replicas.
int64_t kv_tokens(const PlannedLayout& layout, int64_t block_size) {
  return layout.evaluation.kv.blocks * block_size * layout.candidate.dp;
}

std::string chosen_text(const PlanReport& report) {
  const auto& [candidate, evaluation] = report.chosen;
  std::string text =
      fmt::format("layout: mode={} ranks={} nodes={} tp={} pp={} dp={} options=\"{}\"{}\n",
                  candidate.mode, candidate.devices.size(), nodes_of(candidate, report.machines),
                  candidate.tp, candidate.pp, candidate.dp, candidate.options,
                  candidate.note.empty() ? "" : fmt::format(" reason=\"{}\"", candidate.note));
  text += rank_lines(report, report.chosen);
  if (!evaluation.problem.empty()) return text + "does not fit: " + evaluation.problem + "\n";
  const double error = 100 * evaluation.error;
  text += fmt::format("KV cache: {} tokens; sequences of up to {}\n",
                      kv_tokens(report.chosen, report.block_size), evaluation.kv.max_seq_len);
  text += fmt::format(
      "one sequence: {:.1f} tokens/s +-{:.0f}%, at most {:.1f}; most time goes to {}\n",
      evaluation.single.tok_s, error, evaluation.single.bound_tok_s, bottleneck_of(evaluation));
  text += fmt::format(
      "{} sequences, {} tokens in and {} out: {:.0f} tokens/s +-{:.0f}%, at most {:.0f}\n",
      evaluation.saturated.sequences, kPlannedPrompt, kPlannedAnswer, evaluation.saturated.tok_s,
      error, evaluation.saturated.bound_tok_s);
  return text;
}

std::string other_line(const PlanReport& report, const PlannedLayout& layout, size_t width) {
  const Evaluation& e = layout.evaluation;
  uint64_t most = 0;
  for (const RankMemory& own : e.memory) most = std::max(most, own.weights);
  const std::string name = fmt::format("{:{}}", layout.candidate.options, width);
  if (!e.problem.empty())
    return fmt::format("{}  {:>10}  {:>10}  {:>10}  {:>9}\n", name, size_text(most), "-", "-",
                       "no room");
  return fmt::format("{}  {:>10}  {:>10.1f}  {:>10.0f}  {:>9}\n", name, size_text(most),
                     e.single.tok_s, e.saturated.tok_s, kv_tokens(layout, report.block_size));
}

OrderedJson speed_json(const SpeedEstimate& speed) {
  return {
      {"tok_s", speed.tok_s}, {"bound_tok_s", speed.bound_tok_s}, {"sequences", speed.sequences}};
}

OrderedJson layout_json(const PlanReport& report, const PlannedLayout& layout) {
  const auto& [candidate, e] = layout;
  OrderedJson json{{"options", candidate.options}, {"mode", candidate.mode},
                   {"tp", candidate.tp},           {"pp", candidate.pp},
                   {"dp", candidate.dp},           {"quant", candidate.quant.otherwise.bits},
                   {"note", candidate.note},       {"fits", e.problem.empty()},
                   {"problem", e.problem}};
  OrderedJson ranks = OrderedJson::array();
  for (size_t rank = 0; rank < e.memory.size(); ++rank) {
    const RankMemory& own = e.memory[rank];
    ranks.push_back(
        {{"rank", rank},
         {"node", device_of(report, candidate, rank).node},
         {"device", own.device},
         {"units", units_text(candidate.shard_of(static_cast<int>(rank)), report.layers)},
         {"weight_bytes", own.weights},
         {"activation_bytes", own.working(e.kv.max_seq_len)},
         {"kv_bytes", static_cast<uint64_t>(e.kv.blocks) * own.kv_block},
         {"free_bytes", own.free}});
  }
  json["ranks"] = std::move(ranks);
  if (!e.problem.empty()) return json;
  json["kv_tokens"] = kv_tokens(layout, report.block_size);
  json["max_seq_len"] = e.kv.max_seq_len;
  json["single"] = speed_json(e.single);
  json["saturated"] = speed_json(e.saturated);
  json["error"] = e.error;
  json["step_us"] = {{"reading", e.times.reading},
                     {"attention", e.times.attention},
                     {"kernels", e.times.kernels},
                     {"sums", e.times.sums},
                     {"handovers", e.handovers}};
  return json;
}

}  // namespace

std::string plan_table(const PlanReport& report) {
  std::string text = fmt::format("{} on {}\n", report.model, report.machines.text);
  text += chosen_text(report);
  if (report.others.empty()) return text;
  size_t width = 0;
  for (const PlannedLayout& layout : report.others)
    width = std::max(width, layout.candidate.options.size());
  text += fmt::format(
      "\nother layouts, the fastest for one sequence first:\n{:{}}  {:>10}  {:>10}  "
      "{:>10}  {:>9}\n",
      "options", width, "a rank", "one tok/s", "many tok/s", "KV tokens");
  for (const PlannedLayout& layout : report.others) text += other_line(report, layout, width);
  return text;
}

std::string plan_json(const PlanReport& report) {
  OrderedJson others = OrderedJson::array();
  for (const PlannedLayout& layout : report.others) others.push_back(layout_json(report, layout));
  const OrderedJson json{{"version", build_info().version},
                         {"model", report.model},
                         {"devices", report.machines.text},
                         {"prompt_tokens", kPlannedPrompt},
                         {"answer_tokens", kPlannedAnswer},
                         {"chosen", layout_json(report, report.chosen)},
                         {"others", others}};
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace dinfer
