#include "cli/start_limits.h"

#include <algorithm>

#include "cli/start_memory.h"

namespace dinfer {

namespace {

// Logits of a scoring step: enough rows for speed, little memory.
constexpr int64_t kScoringLogitsBytes = int64_t{32} << 20;

// Parts of prompts whose bits do not depend on their company.
constexpr int64_t kFixedChunk = 128;

}  // namespace

SchedulerLimits choose_limits(const Options& options, const StartRequest& request,
                              const ModelConfig& config, const Layout& layout, bool any_gpu) {
  SchedulerLimits limits;
  limits.max_batch_tokens = options.max_batch_tokens > 0 ? options.max_batch_tokens
                            : any_gpu                    ? kGpuBatchTokens
                                                         : kCpuBatchTokens;
  limits.max_seqs =
      static_cast<int32_t>(std::min<int64_t>(request.max_seqs, limits.max_batch_tokens));
  limits.block_size = options.kv_block_size;
  limits.prefix_cache = request.prefix_cache;
  limits.depth = layout.depth();
  limits.replicas = layout.dp;
  limits.max_seq_len = wanted_seq_len(options, config);
  const int64_t scored = kScoringLogitsBytes / (config.vocab * int64_t{sizeof(float)});
  limits.max_logit_rows = std::max<int64_t>(
      limits.max_seqs, request.scores ? std::min(scored, limits.max_batch_tokens) : 1);
  if (request.deterministic) {
    // Room for a part beside all sequences that decode. Kernels of GPUs add up in an order that
    // depends on the number of rows.
    limits.fixed_chunk =
        std::clamp<int64_t>(limits.max_batch_tokens - limits.max_seqs, 1, kFixedChunk);
    limits.alone = any_gpu;
  }
  return limits;
}

StepLimits step_limits(const SchedulerLimits& limits, bool deterministic) {
  return {.rows = limits.max_batch_tokens,
          .logit_rows = limits.max_logit_rows,
          .positions = limits.max_seq_len,
          .rows_apart = deterministic};
}

}  // namespace dinfer
