#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "device/device.h"
#include "engine/sampling_params.h"
#include "engine/step_plan.h"
#include "engine/token_counts.h"
#include "placement/placement.h"

namespace dinfer {

struct TokenLogprob {
  int32_t id = -1;
  float logprob = 0;
  bool operator==(const TokenLogprob&) const = default;
};

// What is wanted of one row of logits. The same on all ranks, in the same order.
struct RowTask {
  bool sample = false;
  SamplingParams params;                // for sample
  const TokenCounts* counts = nullptr;  // for sample with penalties
  int64_t position = 0;                 // of the token that the row predicts
  int32_t target = -1;  // report the log-probability of this token; -1: of the sampled one
  ReportSpec report;
  std::span<const uint64_t> allowed = {};  // TokenMask for sample; empty: any token
};

struct RowResult {
  int32_t token = -1;             // sampled
  float logprob = 0;              // with report.logprobs: of `target`, or else of `token`
  std::vector<TokenLogprob> top;  // report.top, most likely first
  std::vector<float> logits;      // report.logits: [vocab]
  bool operator==(const RowResult&) const = default;
};

struct RecordLayout;

// Chooses tokens from logits that are split by vocabulary among ranks. Every rank runs it on its
// slice and all end with the same result. A draw is the arg-max of logit / temperature + Gumbel
// noise over the tokens that truncation leaves; the noise depends on (seed, stream, position,
// token) alone, so neither the batch nor the number of ranks changes a token, up to rounding of
// near-ties.
//
// One all-gather of a fixed-size record a row: the slice's largest candidates, its sum of
// exponentials, its best noisy token. Where top-k, top-p or min-p reach beyond the candidates, all
// ranks see it in the same records, and the whole rows follow in a second all-gather.
class Sampler {
 public:
  // `slices`: the vocabulary rows of each rank of the group, ascending and adjoining.
  Sampler(Device& device, Communicator& group, std::vector<Range> slices);

  // `logits` [tasks, own slice], in device memory, left as they were. `digest` stands for what this
  // rank did so far: Error(peer) naming the ranks whose digest is not that of rank 0. Logits that
  // are NaN or infinite are an Error(model_files), on all ranks.
  std::vector<RowResult> run(Tensor logits, std::span<const RowTask> tasks, uint64_t digest);

  // Candidates of a slice that a truncated draw looks at before whole rows are gathered.
  static constexpr int64_t kTruncationCandidates = 256;
  static constexpr int64_t kMostCandidates = 1024;

 private:
  void fetch_rows(Tensor logits, std::span<const RowTask> tasks);
  void describe(Tensor logits, std::span<const RowTask> tasks, const RecordLayout& layout,
                std::byte* message);
  std::vector<std::vector<float>> gather_rows(std::span<const size_t> rows);
  void compare_digests(std::span<const std::byte> messages, size_t stride) const;

  Device& device_;
  Communicator& group_;
  std::vector<Range> slices_;
  Range own_;
  int64_t vocab_;
  int64_t widest_;           // slice
  std::vector<float> host_;  // [tasks, own slice]: rows of this run that came to the host
};

}  // namespace dinfer
