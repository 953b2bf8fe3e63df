#include "cli/option_table.h"

#include <array>
#include <cctype>

#include "placement/memory_limits.h"

namespace dinfer {

namespace {

using Counts = Bounds<int>;
using Counts64 = Bounds<int64_t>;
using Reals = Bounds<double>;

constexpr int kMostThreads = 4096;
constexpr int kMostRanks = 65536;
constexpr double kDay = 86400;  // seconds

std::vector<OptionSpec> model_options() {
  constexpr std::string_view group = "Model";
  return {
      {group, "model", 'm', "MODEL", kEngine | kPlan | kTokenize, "",
       "a directory in Hugging Face's layout, a .gguf file (the first shard of several), or "
       "ORG/NAME "
       "of a model in the local hub cache",
       any_text(&Options::model)},
      {group, "revision", 0, "REV", kEngine | kPlan | kTokenize, "main",
       "branch or commit of a model in the hub cache", any_text(&Options::revision)},
      {group, "tokenizer", 0, "FILE", kEngine | kTokenize, "",
       "tokenizer.json to use in place of the model's", any_text(&Options::tokenizer)},
      {group, "chat-template", 0, "FILE", kRun | kTokenize | kServe, "",
       "Jinja chat template to use in place of the model's", any_text(&Options::chat_template)},
      {group, "cpu-math", 0, "KIND", kEngine, "auto",
       "auto: 8-bit activations where weights are quantised, f16 KV cache; f32: exact",
       one_of(&Options::cpu_math, {"auto", "f32"})},
      {group, "quant", 0, "BITS", kEngine | kPlan, "as stored",
       "quantise plain weights while loading", one_of(&Options::quant, {"4", "8"})},
      {group, "quant-group", 0, "N", kEngine | kPlan, "32",
       "weights that share a scale, with --quant",
       one_of(&Options::quant_group, {"32", "64", "128"})},
      {group, "max-seq-len", 0, "N", kEngine | kPlan, "the model's, or what fits",
       "longest sequence, prompt and answer together",
       number(&Options::max_seq_len, Counts64{.low = 1})},
  };
}

std::vector<OptionSpec> layout_options() {
  constexpr std::string_view group = "Layout";
  return {
      {group, "cpu", 0, "", kEngine | kPlan, "", "CPU ranks, also where there are GPUs",
       toggle(&Options::cpu)},
      {group, "threads", 0, "N", kEngine | kPlan, "its share of the host's cores",
       "threads of a CPU rank", number(&Options::threads, Counts{.low = 1, .high = kMostThreads})},
      {group, "mode", 0, "MODE", kEngine | kPlan, "auto", "how ranks share the model",
       one_of(&Options::mode, {"auto", "tensor", "layers"})},
      {group, "tp", 0, "N", kEngine | kPlan, "all ranks",
       "ranks that share each layer; without a launcher so many are started on this machine",
       number(&Options::tp, Counts{.low = 1, .high = kMostRanks})},
      {group, "pp", 0, "N", kEngine | kPlan, "1",
       "groups of ranks that own layers one after the other, each of --tp ranks",
       number(&Options::pp, Counts{.low = 1, .high = kMostRanks})},
      {group, "dp", 0, "N", kEngine | kPlan, "1",
       "copies of the model that share the requests, each of --tp x --pp ranks",
       number(&Options::dp, Counts{.low = 1, .high = kMostRanks})},
      {group, "device-layers", 'n', "\"ORD:NUM;...\"", kEngine | kPlan, "",
       "so many layers on each device, in this order; ORD is a visible GPU, or cpu",
       any_text(&Options::device_layers)},
      {group, "topology", 0, "FILE", kEngine | kPlan, "",
       "YAML file: which layers or weights on which device, quantised how",
       any_text(&Options::topology)},
      {group, "uneven-tp", 0, "", kEngine | kPlan, "",
       "ranks may have different numbers of attention heads", toggle(&Options::uneven_tp)},
      {group, "no-p2p", 0, "", kEngine | kPlan, "", "tensors of GPUs travel through host memory",
       toggle(&Options::no_p2p)},
      {group, "dry-run", 0, "", kEngine, "", "print the plan and end before any weight is read",
       toggle(&Options::dry_run)},
  };
}

// Kept as text, once it is known to be a list.
ValueRule memory_limits(std::string Options::*member) {
  return {
      "DEVICE=SIZE separated by commas, each device once: GPUs by number or cpu, whole GiB or MiB",
      {},
      [member](Options& options, std::string_view text) {
        options.*member = text;
        return parse_memory_limits(text).has_value();
      }};
}

std::vector<OptionSpec> memory_options() {
  constexpr std::string_view group = "Memory";
  return {
      {group, "memory-limit", 0, "ORD=SIZE,...", kEngine | kPlan, "what is free",
       "most memory to take of a device, as in 0=20GiB,cpu=512MiB; ORD as with -n",
       memory_limits(&Options::memory_limit)},
      {group, "kv-memory-fraction", 0, "F", kEngine | kPlan, "0.9",
       "share of the free memory that the KV cache may take",
       number(&Options::kv_memory_fraction, Reals{.low = 0, .high = 1, .low_excluded = true})},
      {group, "kv-block-size", 0, "N", kEngine | kPlan, "16", "tokens in a KV block",
       one_of(&Options::kv_block_size, {"16", "32"})},
      {group, "kv-dtype", 0, "TYPE", kEngine | kPlan, "auto",
       "numbers in the KV cache; auto: f16 (f32 with --cpu-math f32); f8: e4m3, half the memory",
       one_of(&Options::kv_dtype, {"auto", "f8"})},
      {group, "kv-blocks", 0, "N", kEngine | kPlan, "from --kv-memory-fraction",
       "KV blocks of a rank", number(&Options::kv_blocks, Counts64{.low = 1})},
      {group, "no-prefix-cache", 0, "", kRun | kServe, "",
       "compute each prompt anew, though others began like it", toggle(&Options::no_prefix_cache)},
      {group, "deterministic", 0, "", kServe, "",
       "an answer's bits do not depend on what else is computed; slower, on GPUs by much",
       toggle(&Options::deterministic)},
      {group, "max-seqs", 0, "N", kEngine | kPlan, "64",
       "sequences that each copy of the model works on at once",
       number(&Options::max_seqs, Counts{.low = 1, .high = 65536})},
      {group, "max-batch-tokens", 0, "N", kEngine | kPlan, "512 on CPUs, 4096 on GPUs",
       "tokens in one step of a copy of the model",
       number(&Options::max_batch_tokens, Counts{.low = 1, .high = 1 << 20})},
  };
}

std::vector<OptionSpec> sampling_options() {
  constexpr std::string_view group = "Sampling";
  constexpr std::string_view by_model = "the model's";
  return {
      {group, "temperature", 0, "T", kRun | kServe, by_model, "0: always the likeliest token",
       number(&Options::temperature, Reals{.low = 0})},
      {group, "top-p", 0, "P", kRun | kServe, by_model,
       "sample among the likeliest tokens that together reach probability P",
       number(&Options::top_p, Reals{.low = 0, .high = 1, .low_excluded = true})},
      {group, "top-k", 0, "K", kRun | kServe, by_model,
       "sample among the K likeliest tokens; 0: all", number(&Options::top_k, Counts{.low = 0})},
      {group, "min-p", 0, "P", kRun | kServe, by_model,
       "leave out tokens less than P times as likely as the likeliest",
       number(&Options::min_p, Reals{.low = 0, .high = 1})},
      {group, "repetition-penalty", 0, "X", kRun | kServe, "the model's, or 1",
       "divide the logits of tokens seen before by X",
       number(&Options::repetition_penalty, Reals{.low = 0, .low_excluded = true})},
      {group, "presence-penalty", 0, "X", kRun | kServe, "0",
       "subtract X from the logits of tokens generated before",
       number(&Options::presence_penalty, Reals{.low = -2, .high = 2})},
      {group, "frequency-penalty", 0, "X", kRun | kServe, "0",
       "subtract X for each time that a token was generated before",
       number(&Options::frequency_penalty, Reals{.low = -2, .high = 2})},
      {group, "seed", 0, "N", kRun | kServe, "drawn anew",
       "same seed, same tokens, whatever the batch or the number of ranks",
       number(&Options::seed, Bounds<uint64_t>{.low = 0})},
      {group, "max-tokens", 0, "N", kRun | kServe, "what the context has left", "longest answer",
       number(&Options::max_tokens, Counts64{.low = 1})},
      {group, "stop", 0, "TEXT", kRun | kServe, "", "end the answer before this text (repeatable)",
       texts(&Options::stop)},
      {group, "ignore-eos", 0, "", kRun | kServe, "", "go on after an end-of-text token",
       toggle(&Options::ignore_eos)},
  };
}

std::vector<OptionSpec> server_options() {
  constexpr std::string_view group = "Server";
  constexpr std::string_view limits = "Limits of the server";
  const Reals seconds{.low = 0, .high = kDay, .low_excluded = true};
  const Counts counts{.low = 1, .high = 1 << 20};
  return {
      {group, "host", 0, "ADDRESS", kServe, "127.0.0.1", "address to listen on",
       any_text(&Options::host)},
      {group, "port", 'p', "N", kServe, "1234", "port to listen on; 0: any free one",
       number(&Options::port, Counts{.low = 0, .high = 65535})},
      {group, "api-key-file", 0, "FILE", kServe, "", "ask clients for one of the keys in FILE",
       any_text(&Options::api_key_file)},
      {group, "tls-cert", 0, "FILE", kServe, "", "speak TLS, with this certificate chain (PEM)",
       any_text(&Options::tls_cert)},
      {group, "tls-key", 0, "FILE", kServe, "", "the key of --tls-cert (PEM)",
       any_text(&Options::tls_key)},
      {group, "allow-keyless", 0, "", kServe, "",
       "serve everyone who can reach an address beyond loopback", toggle(&Options::allow_keyless)},
      {group, "allowed-host", 0, "NAME", kServe, "",
       "another name of this server that Host headers may have on loopback (repeatable)",
       texts(&Options::allowed_hosts)},
      {group, "served-model-name", 0, "NAME", kServe, "the last part of --model",
       "what clients call the model", any_text(&Options::served_model_name)},
      {group, "endpoint-file", 0, "FILE", kServe, "",
       "write host, port, job and process as JSON once requests are served; removed at the end",
       any_text(&Options::endpoint_file)},
      {group, "no-ui", 0, "", kServe, "", "leave out the page at /", toggle(&Options::no_ui)},
      {group, "strict-api", 0, "", kServe, "", "refuse fields that would be ignored",
       toggle(&Options::strict_api)},
      {limits, "max-queue", 0, "N", kServe, "512", "sequences that may wait; beyond: status 429",
       number(&Options::max_queue, counts)},
      {limits, "max-connections", 0, "N", kServe, "4096", "open connections",
       number(&Options::max_connections, counts)},
      {limits, "max-connections-per-address", 0, "N", kServe, "256",
       "open connections of one client address",
       number(&Options::max_connections_per_address, counts)},
      {limits, "max-body-bytes", 0, "N", kServe, "8388608", "bytes of one request's body",
       number(&Options::max_body_bytes, Counts64{.low = 1, .high = int64_t{1} << 28})},
      {limits, "header-timeout", 0, "S", kServe, "10", "seconds for the head of a request",
       number(&Options::header_timeout, seconds)},
      {limits, "idle-timeout", 0, "S", kServe, "75", "seconds that a connection may idle",
       number(&Options::idle_timeout, seconds)},
      {limits, "write-timeout", 0, "S", kServe, "20",
       "seconds without progress after which a reader is given up",
       number(&Options::write_timeout, seconds)},
      {limits, "request-timeout", 0, "S", kServe, "600", "seconds that one request may take",
       number(&Options::request_timeout, seconds)},
      {limits, "drain-timeout", 0, "S", kServe, "30",
       "seconds for running requests after SIGTERM, SIGINT or SIGUSR1; a second signal ends them",
       number(&Options::drain_timeout, seconds)},
  };
}

std::vector<OptionSpec> command_options() {
  constexpr std::string_view input = "Input and output";
  constexpr std::string_view sweep = "What to measure";
  constexpr std::string_view what = "What to plan";
  return {
      {input, "prompt", 'p', "TEXT", kRun | kTokenize, "standard input", "the text to work on",
       any_text(&Options::prompt)},
      {input, "system", 0, "TEXT", kRun, "", "system message of the chat",
       any_text(&Options::system)},
      {input, "raw", 0, "", kRun, "", "the prompt as it is, without the chat template",
       toggle(&Options::raw)},
      {input, "tokens", 0, "IDS", kRun, "", "the prompt as token ids: 1,2,3",
       numbers(&Options::tokens, Counts{.low = 0})},
      {input, "top", 0, "K", kScore, "0", "also give the K likeliest tokens of each position",
       number(&Options::top, Counts{.low = 0, .high = 1 << 20})},
      {input, "logits", 0, "FILE", kScore, "", "also write the logits to this HDF5 file",
       any_text(&Options::logits)},
      {input, "decode", 0, "", kTokenize, "", "token ids to text", toggle(&Options::decode)},
      {input, "jsonl", 0, "", kTokenize, "", "one JSON object a line, in and out",
       toggle(&Options::jsonl)},
      {input, "no-add-special", 0, "", kTokenize, "", "leave out BOS and EOS",
       toggle(&Options::no_add_special)},
      {input, "parse-special", 0, "", kTokenize, "",
       "let the text of special tokens in the input become special tokens",
       toggle(&Options::parse_special)},
      {input, "chat", 0, "FILE", kTokenize, "",
       "render this conversation with the chat template: a JSON object of messages, tools, "
       "add_generation_prompt, chat_template_kwargs; - is standard input",
       any_text(&Options::chat)},
      {input, "text", 0, "", kTokenize, "", "with --chat: the rendered text, not its ids",
       toggle(&Options::text)},
      {input, "json", 0, "", kRun | kBench | kPlan | kVersion, "",
       "one JSON object on standard output", toggle(&Options::json)},
      {sweep, "shape", 0, "NAME", kBench | kServe | kPlan, "",
       "random weights of a published shape, no files needed; serve: beside a --tokenizer",
       any_text(&Options::shape)},
      {sweep, "batch", 0, "LIST", kBench, "1", "sequences decoded together: 1,8,32",
       numbers(&Options::bench_batch, Counts64{.low = 1})},
      {sweep, "context", 0, "LIST", kBench, "0", "tokens already in the cache when decode starts",
       numbers(&Options::bench_context, Counts64{.low = 0})},
      {sweep, "prefill", 0, "LIST", kBench, "512", "prompt lengths",
       numbers(&Options::bench_prefill, Counts64{.low = 1})},
      {sweep, "prompts", 0, "LIST", kBench, "1", "prompts of such a length at a time",
       numbers(&Options::bench_prompts, Counts64{.low = 1})},
      {sweep, "requests", 0, "N", kBench, "", "throughput of so many requests that come at once",
       number(&Options::bench_requests, Counts{.low = 1})},
      {sweep, "in", 0, "N", kBench, "128", "tokens of each such request's prompt",
       number(&Options::bench_in, Counts{.low = 1})},
      {sweep, "out", 0, "N", kBench, "256", "tokens of each such request's answer",
       number(&Options::bench_out, Counts{.low = 1})},
      {sweep, "bench-tokens", 0, "N", kBench, "128", "tokens decoded in one measurement",
       number(&Options::bench_tokens, Counts{.low = 1})},
      {sweep, "repeat", 0, "N", kBench, "5", "measurements of each row; the median counts",
       number(&Options::bench_repeat, Counts{.low = 1, .high = 10000})},
      {what, "devices", 0, "LIST", kPlan, "this machine's",
       "devices to plan for: 8xH200, 2x8xH100 (two nodes), 2xH100,1xA100, H100:40GiB,cpu:256GiB",
       any_text(&Options::devices)},
      {what, "calibration", 0, "FILE", kPlan, "",
       "output of dinfer bench --json, which sets the estimates right",
       any_text(&Options::calibration)},
      {what, "emit", 0, "KIND", kPlan, "", "also write files that start the layout",
       one_of(&Options::emit, {"mpirun", "slurm", "multinode", "ring"})},
      {what, "output", 'o', "DIR", kPlan, ".", "where --emit writes them",
       any_text(&Options::output)},
  };
}

std::vector<OptionSpec> control_options() {
  constexpr std::string_view control = "Control";
  constexpr std::string_view log = "Log";
  const Reals seconds{.low = 0, .high = kDay, .low_excluded = true};
  return {
      {control, "bootstrap", 0, "KIND", kEngine, "auto", "how ranks find each other",
       one_of(&Options::bootstrap, {"auto", "mpi", "multinode", "ring", "local"})},
      {control, "secret-file", 0, "FILE", kEngine, "the variable DINFER_SECRET",
       "secret by which ranks of a multinode or ring job know each other",
       any_text(&Options::secret_file)},
      {control, "insecure-no-auth", 0, "", kEngine, "",
       "let ranks of other hosts join without a secret", toggle(&Options::insecure_no_auth)},
      {control, "control-interface", 0, "NAME", kEngine, "every address; without a secret loopback",
       "network interface or address where ranks listen for each other",
       any_text(&Options::control_interface)},
      {control, "ring-any-size", 0, "", kEngine, "",
       "allow a RING_CONFIG whose world_size is no power of two", toggle(&Options::ring_any_size)},
      {control, "start-timeout", 0, "S", kEngine, "60", "seconds until all ranks must have started",
       number(&Options::start_timeout, seconds)},
      {control, "step-timeout", 0, "S", kEngine, "30", "seconds without work of any rank in a step",
       number(&Options::step_timeout, seconds)},
      {control, "stall-timeout", 0, "S", kEngine, "5",
       "seconds of silence after which a rank is lost", number(&Options::stall_timeout, seconds)},
      {log, "log-level", 0, "LEVEL", kEngine | kPlan | kTokenize, "info",
       "least severity that is logged",
       one_of([](Options & o) -> auto& { return o.log.level; },
              {"trace", "debug", "info", "warning", "error", "off"})},
      {log, "log-format", 0, "FORMAT", kEngine | kPlan | kTokenize, "text", "form of a log line",
       one_of([](Options & o) -> auto& { return o.log.format; }, {"text", "json"})},
      {log, "log-dir", 0, "DIR", kEngine | kPlan | kTokenize, "",
       "also a log file a rank in this directory",
       any_text([](Options & o) -> auto& { return o.log.directory; })},
  };
}

}  // namespace

std::string OptionSpec::environment() const {
  std::string variable = "DINFER_";
  for (const char c : name) {
    variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return variable;
}

std::span<const OptionSpec> option_table() {
  static const std::vector<OptionSpec> table = [] {
    std::vector<OptionSpec> all;
    for (auto part : {command_options(), model_options(), sampling_options(), server_options(),
                      layout_options(), memory_options(), control_options()}) {
      all.insert(all.end(), std::make_move_iterator(part.begin()),
                 std::make_move_iterator(part.end()));
    }
    return all;
  }();
  return table;
}

std::span<const std::string_view> future_options() {
  static constexpr std::array<std::string_view, 3> names{"dtype", "download", "verify"};
  return names;
}

std::span<const std::string_view> script_variables() {
  static constexpr std::array<std::string_view, 9> names{
      "DINFER_AIPERF",       "DINFER_BINARY", "DINFER_CACHE",
      "DINFER_DEMO_MODEL",   "DINFER_PYTHON", "DINFER_PEER_MODELS",
      "DINFER_FUZZ_SECONDS", "DINFER_SECRET", "DINFER_RANK"};
  return names;
}

}  // namespace dinfer
