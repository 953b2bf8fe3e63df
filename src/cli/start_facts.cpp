#include "cli/start_facts.h"

#include "base/build_info.h"

namespace dinfer {

Facts option_facts(const Options& options, const StartRequest& request) {
  const BuildInfo build = build_info();
  const Options& o = options;
  return {
      {"dinfer", std::string(build.version)},
      {"build", fmt::format("{} {}", build.build_type, build.compiler)},
      {"command", request.command},
      {"--cpu-math", o.cpu_math},
      {"--quant", fmt::to_string(o.quant)},
      {"--quant-group", fmt::to_string(o.quant_group)},
      {"--max-seq-len", fmt::to_string(o.max_seq_len)},
      {"--mode", o.mode},
      {"--tp", fmt::to_string(o.tp)},
      {"--pp", fmt::to_string(o.pp)},
      {"--dp", fmt::to_string(o.dp)},
      {"--device-layers", o.device_layers},
      {"--uneven-tp", o.uneven_tp ? "yes" : "no"},
      {"--no-p2p", o.no_p2p ? "yes" : "no"},
      {"--dry-run", o.dry_run ? "yes" : "no"},
      {"--memory-limit", o.memory_limit},
      {"--kv-memory-fraction", fmt::to_string(o.kv_memory_fraction)},
      {"--kv-block-size", fmt::to_string(o.kv_block_size)},
      {"--kv-dtype", o.kv_dtype},
      {"--kv-blocks", fmt::to_string(o.kv_blocks)},
      {"--max-seqs", fmt::to_string(o.max_seqs)},
      {"--deterministic", request.deterministic ? "yes" : "no"},
      {"--max-batch-tokens", fmt::to_string(o.max_batch_tokens)},
      {"--step-timeout", fmt::to_string(o.step_timeout)},
      {"--stall-timeout", fmt::to_string(o.stall_timeout)},
      {"--shape", o.shape},
  };
}

Facts model_facts(const std::string& identity, const ModelConfig& config, const Layout& layout,
                  DeviceKind device, KvType kv_type) {
  const ModelConfig& c = config;
  Facts facts{
      {"model files", identity},
      {"model shape",
       fmt::format("{} {}x{}, ffn {}, {} of {} experts with ffn {}, heads {}:{}x{}, vocabulary {}",
                   c.architecture, c.layers, c.hidden, c.ffn, c.experts.chosen, c.experts.count,
                   c.experts.ffn, c.heads, c.kv_heads, c.head_dim, c.vocab)},
      {"layers", describe_owners(layout.placement, c.layers)},
  };
  if (layout.is_mapped()) return facts;  // devices that a mapping names may differ
  facts.emplace_back("device kind", device == DeviceKind::cuda ? "cuda" : "cpu");
  facts.emplace_back("KV type", name_of(kv_type));
  return facts;
}

}  // namespace dinfer
