#include "base/error.h"
#include "checkpoint/config_limits.h"

namespace dinfer {

namespace {

void check_rope(const ModelConfig& config, const std::string& where) {
  const RopeConfig& rope = config.rope;
  const auto rotated = static_cast<int64_t>(config.head_dim * rope.partial_rotary_factor);
  if (rotated < 2 || rotated % 2 != 0) {
    fail(ExitCode::model_files,
         "{}: {} of {} elements of a head would be rotated; the number must be even and at least 2",
         where, rotated, config.head_dim);
  }
  const auto pairs = static_cast<size_t>(rotated / 2);
  const auto check_count = [&](const std::vector<double>& list, const char* name) {
    if (list.size() != pairs) {
      fail(ExitCode::model_files, "{}: {} rope {} factors; {} rotated pairs need as many", where,
           list.size(), name, pairs);
    }
  };
  if (rope.type == RopeType::longrope) {
    check_count(rope.short_factor, "short");
    check_count(rope.long_factor, "long");
  }
  if (!rope.frequency_divisors.empty()) check_count(rope.frequency_divisors, "frequency");
  if (rope.type == RopeType::llama3 && rope.high_frequency_factor <= rope.low_frequency_factor) {
    fail(ExitCode::model_files, "{}: high_freq_factor {} must be above low_freq_factor {}", where,
         rope.high_frequency_factor, rope.low_frequency_factor);
  }
  if (rope.type == RopeType::yarn && rope.beta_fast < rope.beta_slow) {
    fail(ExitCode::model_files, "{}: beta_fast {} must not be below beta_slow {}", where,
         rope.beta_fast, rope.beta_slow);
  }
}

void check_experts(const ModelConfig& config, const std::string& where) {
  const ExpertConfig& experts = config.experts;
  if (experts.count > 0 && (experts.chosen < 1 || experts.chosen > experts.count)) {
    fail(ExitCode::model_files, "{}: {} experts are chosen for each token, of {}; 1 to {} can be",
         where, experts.chosen, experts.count, experts.count);
  }
}

void check_token(int32_t id, const char* name, const ModelConfig& config,
                 const std::string& where) {
  if (id >= config.vocab) {
    fail(ExitCode::model_files, "{}: {} token {} is not in the vocabulary of {}", where, name, id,
         config.vocab);
  }
}

}  // namespace

void check_config(const ModelConfig& config, const std::string& where) {
  if (config.heads % config.kv_heads != 0) {
    fail(ExitCode::model_files, "{}: {} attention heads are no multiple of {} key-value heads",
         where, config.heads, config.kv_heads);
  }
  check_experts(config, where);
  check_rope(config, where);
  check_token(config.bos, "bos", config, where);
  for (const int32_t id : config.eos) check_token(id, "eos", config, where);
}

}  // namespace dinfer
