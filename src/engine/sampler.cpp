#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/random.h"
#include "device/row_pick.h"
#include "engine/vocab_slice.h"

namespace dinfer {

namespace {

// What a rank tells of its slice of one row. Then follow the candidates, then the reported top.
struct RowHeader {
  ExpSum raw;       // of the model's logits; only where log-probabilities are asked for
  ExpSum tempered;  // of penalised logits / temperature; only where top-p needs it
  double noisy_score = 0;
  int32_t noisy_id = -1;
  float noisy_raw = 0;
  float target = 0;  // logit of the task's target
  int32_t has_target = 0;
  int32_t finite = 1;
};

}  // namespace

// How the records of one step are laid out: the same on all ranks, since the tasks are.
struct RecordLayout {
  size_t rows = 0;
  size_t candidates = 1;  // a row
  size_t top = 0;         // a row

  explicit RecordLayout(std::span<const RowTask> tasks, int64_t vocab) : rows(tasks.size()) {
    int64_t most_candidates = 1;
    for (const RowTask& task : tasks) {
      most_candidates = std::max(most_candidates, wanted(task));
      top = std::max(top, static_cast<size_t>(task.report.top));
    }
    candidates = static_cast<size_t>(std::min(most_candidates, vocab));
  }

  static int64_t wanted(const RowTask& task) {
    if (!task.sample || task.params.greedy() || !task.params.truncates()) return 1;
    if (task.params.top_k > 0)
      return std::min<int64_t>(task.params.top_k, Sampler::kMostCandidates);
    return Sampler::kTruncationCandidates;
  }

  size_t row_bytes() const { return sizeof(RowHeader) + (candidates + top) * sizeof(Candidate); }
  size_t message_bytes() const { return sizeof(uint64_t) + rows * row_bytes(); }
  size_t row_at(size_t row) const { return sizeof(uint64_t) + row * row_bytes(); }
};

namespace {

// The records of all ranks for one row, merged.
struct MergedRow {
  ExpSum raw, tempered;
  NoisyBest noisy;
  float noisy_raw = 0;
  float target = 0;
  bool finite = true;
  std::vector<Candidate> candidates, top;  // in rank order
};

bool wants_logprob(const RowTask& task) { return task.report.logprobs || task.report.top > 0; }
bool needs_total(const RowTask& task) {
  return task.sample && !task.params.greedy() && task.params.top_p < 1.0f && task.params.top_k == 0;
}
bool draws_freely(const RowTask& task) {
  return task.sample && !task.params.greedy() && !task.params.truncates();
}

RowDraw draw_of(const RowTask& task) {
  return {.temperature = draws_freely(task) ? task.params.temperature : 0.0f,
          .stream = task.params.stream,
          .seed = task.params.seed,
          .position = task.position,
          .sums = wants_logprob(task),
          .allowed = task.sample ? task.allowed : std::span<const uint64_t>()};
}

// The device's pick says all that is wanted of the row; for others the row comes to the host.
bool is_plain(const RowTask& task) {
  if (task.report.logits || task.report.top > 0 || task.target >= 0) return false;
  return !task.sample || (!task.params.adjusts() && (task.params.greedy() || draws_freely(task)));
}

void put_candidates(std::byte* to, const std::vector<Candidate>& candidates, size_t room) {
  const auto kept = std::span(candidates).first(std::min(candidates.size(), room));
  std::ranges::copy(std::as_bytes(kept), to);
  const Candidate none;
  for (size_t i = candidates.size(); i < room; ++i)
    std::memcpy(to + i * sizeof none, &none, sizeof none);
}

// Writes the record of one row of this rank's slice.
void describe_row(const RowTask& task, std::span<float> row, const Range& own,
                  const RecordLayout& layout, std::byte* record) {
  const auto first_id = static_cast<int32_t>(own.begin);
  RowHeader header;
  header.finite = all_finite(row);
  if (wants_logprob(task)) header.raw = exp_sum(row, 1.0);
  if (task.target >= own.begin && task.target < own.end) {
    header.target = row[static_cast<size_t>(task.target - own.begin)];
    header.has_target = 1;
  }
  const std::vector<Candidate> top = largest(row, first_id, task.report.top);

  const bool masked = task.sample && !task.allowed.empty();
  const std::vector<float> unmasked(row.begin(), masked ? row.end() : row.begin());
  LogitChanges changes;
  if (task.sample && task.params.adjusts())
    changes = adjust(row, first_id, task.params, task.counts, task.position);
  if (masked) keep_allowed(row, first_id, task.allowed);
  if (needs_total(task)) header.tempered = exp_sum(row, 1.0 / task.params.temperature);
  std::vector<Candidate> candidates;
  if (draws_freely(task)) {
    const NoisyBest noisy = noisy_best(row, first_id, draw_of(task));
    header.noisy_score = noisy.score;
    header.noisy_id = noisy.id;
  } else if (task.sample) {
    candidates = largest(row, first_id, static_cast<int64_t>(layout.candidates));
  }
  if (masked)
    std::ranges::copy(unmasked, row.begin());
  else
    restore(row, first_id, changes);
  for (Candidate& candidate : candidates)
    candidate.raw = row[static_cast<size_t>(candidate.id - first_id)];
  if (header.noisy_id >= 0) header.noisy_raw = row[static_cast<size_t>(header.noisy_id - first_id)];

  std::memcpy(record, &header, sizeof header);
  put_candidates(record + sizeof header, candidates, layout.candidates);
  put_candidates(record + sizeof header + layout.candidates * sizeof(Candidate), top, layout.top);
}

// The same from what the device picked.
void describe_pick(const RowTask& task, const RowPick& pick, const RecordLayout& layout,
                   std::byte* record) {
  RowHeader header{.raw = pick.sum, .finite = pick.finite};
  std::vector<Candidate> candidates;
  if (draws_freely(task)) {
    header.noisy_score = pick.score;
    header.noisy_id = pick.id;
    header.noisy_raw = pick.value;
  } else if (task.sample && pick.id >= 0) {
    candidates.push_back({pick.value, pick.value, pick.id});
  }
  std::memcpy(record, &header, sizeof header);
  put_candidates(record + sizeof header, candidates, layout.candidates);
  put_candidates(record + sizeof header + layout.candidates * sizeof(Candidate), {}, layout.top);
}

void append_candidates(const std::byte* from, size_t count, std::vector<Candidate>& to) {
  for (size_t i = 0; i < count; ++i) {
    Candidate candidate;
    std::memcpy(&candidate, from + i * sizeof candidate, sizeof candidate);
    if (candidate.id >= 0) to.push_back(candidate);
  }
}

MergedRow merge_row(std::span<const std::byte> messages, const RecordLayout& layout, size_t row) {
  MergedRow merged;
  for (size_t at = 0; at < messages.size(); at += layout.message_bytes()) {
    const std::byte* record = messages.data() + at + layout.row_at(row);
    RowHeader header;
    std::memcpy(&header, record, sizeof header);
    merged.raw.merge(header.raw);
    merged.tempered.merge(header.tempered);
    merged.finite &= header.finite != 0;
    if (header.has_target) merged.target = header.target;
    if (header.noisy_id >= 0 && header.noisy_score > merged.noisy.score) {
      merged.noisy = {header.noisy_score, header.noisy_id};
      merged.noisy_raw = header.noisy_raw;
    }
    append_candidates(record + sizeof header, layout.candidates, merged.candidates);
    append_candidates(record + sizeof header + layout.candidates * sizeof(Candidate), layout.top,
                      merged.top);
  }
  std::sort(merged.candidates.begin(), merged.candidates.end(), ranks_before);
  std::sort(merged.top.begin(), merged.top.end(), ranks_before);
  return merged;
}

// How many of `candidates` (in rank order) truncation keeps; empty when it may reach beyond them,
// where they are not the `complete` vocabulary. `total`: log of the sum over the whole vocabulary.
std::optional<size_t> kept_by_truncation(const std::vector<Candidate>& candidates, bool complete,
                                         const SamplingParams& params, double total) {
  const auto scaled = [&](size_t i) { return double{candidates[i].value} / params.temperature; };
  size_t kept = candidates.size();
  bool bounded = complete;  // nothing beyond `kept` can be in
  if (params.top_k > 0) {
    if (static_cast<size_t>(params.top_k) <= kept) {
      kept = static_cast<size_t>(params.top_k);
      bounded = true;
    } else if (!complete) {
      return std::nullopt;
    }
    ExpSum sum{.max = static_cast<float>(scaled(0))};
    for (size_t i = 0; i < kept; ++i) sum.sum += std::exp(scaled(i) - sum.max);
    total = sum.log();
  }
  if (params.top_p < 1.0f) {
    double before = 0;
    size_t i = 0;
    while (i < kept && (i == 0 || before < params.top_p)) before += std::exp(scaled(i++) - total);
    bounded = bounded || before >= params.top_p;
    kept = i;
  }
  if (params.min_p > 0.0f) {
    const double least = scaled(0) + std::log(double{params.min_p});
    size_t i = 1;
    while (i < kept && scaled(i) >= least) ++i;
    bounded = bounded || i < kept;
    kept = i;
  }
  if (!bounded) return std::nullopt;
  return kept;
}

// The candidate that the draw takes; empty when more candidates are needed.
std::optional<Candidate> draw(const std::vector<Candidate>& candidates, bool complete,
                              const RowTask& task, double total) {
  if (task.params.greedy()) return candidates.front();
  const auto kept = kept_by_truncation(candidates, complete, task.params, total);
  if (!kept) return std::nullopt;
  TokenNoise noise(task.params.seed, task.params.stream, task.position);
  const Candidate* best = nullptr;
  double best_score = 0;
  for (const Candidate& candidate : std::span(candidates).first(*kept)) {
    const double score =
        double{candidate.value} / task.params.temperature + gumbel(noise.word(candidate.id));
    if (!best || score > best_score || (score == best_score && candidate.id < best->id)) {
      best = &candidate;
      best_score = score;
    }
  }
  return *best;
}

// All tokens of a whole row, in rank order, after penalties, bias, bans and mask.
std::vector<Candidate> all_candidates(std::vector<float> row, const RowTask& task) {
  const std::vector<float> raw = row;
  if (task.params.adjusts()) adjust(row, 0, task.params, task.counts, task.position);
  if (!task.allowed.empty()) keep_allowed(row, 0, task.allowed);
  std::vector<Candidate> all = largest(row, 0, static_cast<int64_t>(row.size()));
  for (Candidate& candidate : all) candidate.raw = raw[static_cast<size_t>(candidate.id)];
  return all;
}

}  // namespace

Sampler::Sampler(Device& device, Communicator& group, std::vector<Range> slices)
    : device_(device),
      group_(group),
      slices_(std::move(slices)),
      own_(slices_.at(static_cast<size_t>(group.rank()))),
      vocab_(slices_.back().end),
      widest_(0) {
  check(static_cast<int>(slices_.size()) == group.size(), "one vocabulary slice for each rank");
  for (const Range& slice : slices_) widest_ = std::max(widest_, slice.size());
}

// Brings the rows that are not plain to the host: host_ has room for all, and those in it.
void Sampler::fetch_rows(Tensor logits, std::span<const RowTask> tasks) {
  const auto width = static_cast<size_t>(own_.size());
  host_.resize(tasks.size() * width);
  for (size_t row = 0; row < tasks.size();) {
    size_t end = row;
    while (end < tasks.size() && !is_plain(tasks[end])) ++end;
    if (end == row) {
      ++row;
      continue;
    }
    device_.copy_out(
        std::as_writable_bytes(std::span(host_).subspan(row * width, (end - row) * width)),
        reinterpret_cast<const std::byte*>(logits.data + row * width));
    row = end;
  }
}

// This rank's records of all rows.
void Sampler::describe(Tensor logits, std::span<const RowTask> tasks, const RecordLayout& layout,
                       std::byte* message) {
  fetch_rows(logits, tasks);
  const auto width = static_cast<size_t>(own_.size());
  std::vector<RowPick> picks(tasks.size());
  if (std::ranges::any_of(tasks, is_plain)) {
    std::vector<RowDraw> draws;
    for (const RowTask& task : tasks) draws.push_back(draw_of(task));
    device_.pick(logits, static_cast<int32_t>(own_.begin), draws, picks);
  }
  for (size_t row = 0; row < tasks.size(); ++row) {
    std::byte* record = message + layout.row_at(row);
    if (is_plain(tasks[row])) {
      describe_pick(tasks[row], picks[row], layout, record);
    } else {
      describe_row(tasks[row], std::span(host_).subspan(row * width, width), own_, layout, record);
    }
  }
}

std::vector<RowResult> Sampler::run(Tensor logits, std::span<const RowTask> tasks,
                                    uint64_t digest) {
  check(logits.rows == std::ssize(tasks) && logits.columns == own_.size(),
        "a task a row of logits");
  const RecordLayout layout(tasks, vocab_);
  std::vector<std::byte> own(layout.message_bytes());
  std::memcpy(own.data(), &digest, sizeof digest);
  describe(logits, tasks, layout, own.data());
  std::vector<std::byte> messages(own.size() * slices_.size());
  group_.all_gather_host(own, messages);
  compare_digests(messages, layout.message_bytes());

  std::vector<RowResult> results(tasks.size());
  std::vector<std::optional<Candidate>> drawn(tasks.size());
  std::vector<MergedRow> merged(tasks.size());
  std::vector<size_t> wanted_whole;
  for (size_t row = 0; row < tasks.size(); ++row) {
    const RowTask& task = tasks[row];
    merged[row] = merge_row(messages, layout, row);
    if (!merged[row].finite) {
      fail(ExitCode::model_files,
           "the model's logits for position {} are NaN or infinite: its weights, or their "
           "quantisation, are broken",
           task.position);
    }
    bool undecided = false;
    if (draws_freely(task)) {
      drawn[row] = Candidate{.raw = merged[row].noisy_raw, .id = merged[row].noisy.id};
    } else if (task.sample) {
      auto& candidates = merged[row].candidates;
      // Beyond as many as each slice gave, the merged order is not that of the whole vocabulary.
      candidates.resize(std::min(candidates.size(), layout.candidates));
      const bool complete = static_cast<int64_t>(candidates.size()) == vocab_;
      drawn[row] = draw(candidates, complete, task, merged[row].tempered.log());
      undecided = !drawn[row];
    }
    if (undecided || task.report.logits) wanted_whole.push_back(row);
  }

  std::vector<std::vector<float>> whole = gather_rows(wanted_whole);
  for (size_t i = 0; i < wanted_whole.size(); ++i) {
    const size_t row = wanted_whole[i];
    const RowTask& task = tasks[row];
    if (task.sample && !drawn[row]) {
      drawn[row] = draw(all_candidates(whole[i], task), true, task, merged[row].tempered.log());
    }
    if (task.report.logits) results[row].logits = std::move(whole[i]);
  }

  for (size_t row = 0; row < tasks.size(); ++row) {
    const RowTask& task = tasks[row];
    if (drawn[row]) results[row].token = drawn[row]->id;
    if (!wants_logprob(task)) continue;
    const double total = merged[row].raw.log();
    if (task.target >= 0)
      results[row].logprob = static_cast<float>(merged[row].target - total);
    else if (drawn[row])
      results[row].logprob = static_cast<float>(drawn[row]->raw - total);
    merged[row].top.resize(std::min(merged[row].top.size(), static_cast<size_t>(task.report.top)));
    for (const Candidate& candidate : merged[row].top) {
      results[row].top.push_back({candidate.id, static_cast<float>(candidate.value - total)});
    }
  }
  return results;
}

// The named rows over the whole vocabulary, as the model gave them.
std::vector<std::vector<float>> Sampler::gather_rows(std::span<const size_t> rows) {
  std::vector<std::vector<float>> whole(rows.size());
  if (rows.empty()) return whole;
  const auto width = static_cast<size_t>(own_.size());
  const auto widest = static_cast<size_t>(widest_);
  std::vector<float> own(rows.size() * widest);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(host_.begin() + static_cast<std::ptrdiff_t>(rows[i] * width), width,
                own.begin() + static_cast<std::ptrdiff_t>(i * widest));
  }
  std::vector<float> all(own.size() * slices_.size());
  group_.all_gather_host(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all)));
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t rank = 0; rank < slices_.size(); ++rank) {
      const auto from =
          all.begin() + static_cast<std::ptrdiff_t>((rank * rows.size() + i) * widest);
      whole[i].insert(whole[i].end(), from, from + slices_[rank].size());
    }
  }
  return whole;
}

void Sampler::compare_digests(std::span<const std::byte> messages, size_t stride) const {
  std::string parted;
  for (size_t rank = 1; rank < slices_.size(); ++rank) {
    if (std::memcmp(messages.data(), messages.data() + rank * stride, sizeof(uint64_t)) != 0) {
      parted += fmt::format("{}{}", parted.empty() ? "" : ", ", rank);
    }
  }
  if (!parted.empty()) {
    fail(ExitCode::peer,
         "rank {} did other work than rank 0 in the steps so far: the ranks have parted", parted);
  }
}

}  // namespace dinfer
