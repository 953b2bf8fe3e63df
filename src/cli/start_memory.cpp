#include "cli/start_memory.h"

#include <algorithm>

#include "engine/bytes.h"

namespace dinfer {

namespace {

int64_t blocks_for(int64_t tokens, int64_t block_size) {
  return (tokens + block_size - 1) / block_size;
}

std::string text(uint64_t bytes) { return gibibytes(static_cast<double>(bytes)); }

// KV blocks that fit into `room` bytes. Those of the longest sequence, `full` of them, bring
// rotation tables for their positions.
int64_t blocks_within(double room, const RankMemory& memory, int64_t full, int64_t block_size) {
  const auto block = static_cast<double>(memory.kv_block);
  const double tables = static_cast<double>(memory.position) * static_cast<double>(block_size);
  const double together = static_cast<double>(full) * (block + tables);
  return static_cast<int64_t>(room < together
                                  ? room / (block + tables)
                                  : (room - static_cast<double>(full) * tables) / block);
}

constexpr const char* kWhatHelps =
    "use more ranks, --quant 8 or 4 where the weights are plain, --kv-dtype f8, a smaller "
    "--max-seq-len, --max-seqs or --max-batch-tokens";

}  // namespace

int64_t wanted_seq_len(const Options& options, const ModelConfig& config) {
  if (options.max_seq_len == 0) return config.max_position;
  const int64_t longest = std::max(config.max_position, config.longest_position);
  if (options.max_seq_len > longest) {
    fail(ExitCode::config,
         "sequences of {} tokens are asked for (--max-seq-len, or the largest row of bench), the "
         "model was made for at most {}: ask for shorter ones (bench: --prefill, --context, "
         "--bench-tokens)",
         options.max_seq_len, longest);
  }
  return options.max_seq_len;
}

std::optional<KvType> wanted_kv_type(const Options& options) {
  if (options.kv_dtype == "f8") return KvType::f8;
  return std::nullopt;
}

KvPlan plan_kv(const Options& options, int64_t seqs, int64_t seq_len,
               const std::vector<RankMemory>& ranks) {
  const int64_t block_size = options.kv_block_size;
  const int64_t full = blocks_for(seq_len, block_size);
  int64_t fitting = INT32_MAX;  // blocks that every rank has room for
  size_t tightest = 0;          // the rank with the least room
  bool shared = false;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const RankMemory& memory = ranks[rank];
    const uint64_t taken = memory.weights + memory.activations;
    if (taken + memory.kv_block > memory.free) {
      fail(ExitCode::does_not_fit,
           "rank {} needs {} (weights {}, activations {}, and KV cache), {} is free: {}", rank,
           text(taken + memory.kv_block), text(memory.weights), text(memory.activations),
           text(memory.free), kWhatHelps);
    }
    if (memory.kv_block == 0) continue;  // it owns no attention
    shared = shared || memory.shared;
    const double room = static_cast<double>(memory.free - taken) * options.kv_memory_fraction;
    const int64_t blocks = blocks_within(room, memory, full, block_size);
    if (blocks < fitting) {
      fitting = blocks;
      tightest = rank;
    }
  }

  const int64_t others = shared ? std::min(seq_len, kShortSequence) : seq_len;  // tokens of each
  const int64_t useful = full + (seqs - 1) * blocks_for(others, block_size);
  const int64_t blocks = options.kv_blocks > 0 ? options.kv_blocks : std::min(useful, fitting);
  const bool asked = options.max_seq_len > 0;  // for this length
  if (asked && options.kv_blocks > 0 && options.kv_blocks < full) {
    fail(ExitCode::config, "--kv-blocks {} hold {} tokens, --max-seq-len {} needs {} blocks",
         options.kv_blocks, options.kv_blocks * block_size, seq_len, full);
  }
  if (blocks > fitting || blocks == 0 || (asked && blocks < full)) {
    const RankMemory& least = ranks[tightest];
    const int64_t needed = std::max({blocks, asked ? full : 1, int64_t{1}});
    fail(
        ExitCode::does_not_fit,
        "{} KV blocks are needed ({} on rank {}); {} are free there beside the weights and hold {} "
        "at --kv-memory-fraction {}: {}",
        needed, gibibytes(static_cast<double>(needed) * static_cast<double>(least.kv_block)),
        tightest, gibibytes(static_cast<double>(least.free - least.weights - least.activations)),
        fitting, options.kv_memory_fraction, kWhatHelps);
  }
  return {.blocks = blocks, .max_seq_len = std::min(seq_len, blocks * block_size)};
}

std::vector<RankMemory> gather_memory(ControlPlane& control, Deadline deadline,
                                      const RankMemory& own) {
  ByteWriter out;
  out.put_text(own.device);
  for (uint64_t value : {own.free, own.weights, own.activations, own.position, own.kv_block})
    out.put(value);
  out.put<uint8_t>(own.shared);
  std::vector<RankMemory> ranks;
  for (const Bytes& message : control.all_gather(out.take(), deadline)) {
    ByteReader in(message, "memory of a rank");
    RankMemory memory;
    memory.device = in.get_text();
    for (uint64_t* value :
         {&memory.free, &memory.weights, &memory.activations, &memory.position, &memory.kv_block}) {
      *value = in.get<uint64_t>();
    }
    memory.shared = in.get<uint8_t>() != 0;
    in.expect_end();
    ranks.push_back(memory);
  }
  return ranks;
}

std::string gibibytes(double bytes) {
  const double gib = bytes / (1u << 30);
  return gib < 0.1 ? fmt::format("{:.0f}MiB", gib * 1024) : fmt::format("{:.1f}GiB", gib);
}

}  // namespace dinfer
