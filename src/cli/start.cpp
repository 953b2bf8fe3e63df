#include "cli/start.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <numeric>
#include <optional>

#include "base/build_info.h"
#include "base/log.h"
#include "bootstrap/agree.h"
#include "checkpoint/checkpoint.h"
#include "cli/start_cores.h"
#include "cli/start_layout.h"
#include "cli/start_memory.h"
#include "cli/start_offload.h"
#include "cli/start_progress.h"
#include "cli/start_report.h"
#include "cli/start_split.h"
#include "cli/start_state.h"
#include "cli/start_together.h"
#include "comm/link_proof.h"
#include "comm/timed_communicator.h"
#include "engine/bytes.h"
#include "factory.h"
#include "model/transformer.h"
#include "model/weights.h"
#include "placement/memory_limits.h"
#include "placement/placement.h"
#include "text/load_text.h"

namespace dinfer {

namespace {

using Seconds = std::chrono::duration<double>;

// Ranks may read their slices at very different speeds; one that died is noticed at once all the
// same.
constexpr Seconds kLoadTimeout{24 * 3600};
constexpr Seconds kFinishTimeout{10};

// Logits of a scoring step: enough rows for speed, little memory.
constexpr int64_t kScoringLogitsBytes = int64_t{32} << 20;

// Parts of prompts whose bits do not depend on their company.
constexpr int64_t kFixedChunk = 128;

// One rank on its way from options to the loop. Each member is made from those before it.
class Start {
 public:
  Start(const Options& options, const StartRequest& request,
        std::chrono::steady_clock::time_point begin, Bootstrap boot)
      : options_(options), request_(request), begin_(begin), boot_(std::move(boot)) {}

  // From connected ranks to the end of the loop; returns the exit code.
  int run(const Client& client);

  // Ends what ranks talk through, before what that rests on.
  void disconnect();

  const Bootstrap& bootstrap() const { return boot_; }

 private:
  void phase(const char* name, void (Start::*work)());
  void agree_on_options();
  void prepare();
  void open_device();
  void choose_limits();
  void split_by_speed();
  void connect();
  void read_model();
  void agree_on_model();
  void plan_memory();
  void report_plan() const;
  void load();
  void warm_up();
  void run_tokens(int64_t count);
  void measure();
  int lead(const Client& client, SignalWatch& signals);

  const World& world() const { return boot_.world; }
  const Placement& placement() const { return layout_.placement; }
  const Shard& shard() const { return layout_.shard_of(world().rank); }
  // Of this rank: its replica, its place there, and the job's rank of somebody with a place there.
  int replica() const { return world().rank / layout_.replica_ranks(); }
  int place() const { return world().rank % layout_.replica_ranks(); }
  int rank_at(int place, int replica) const { return replica * layout_.replica_ranks() + place; }
  std::vector<int> ranks_at(std::vector<int> places) const {
    for (int& each : places) each = rank_at(each, replica());
    return places;
  }
  bool is_head() const { return world().rank == 0; }
  bool on_gpu() const { return device_->kind() == DeviceKind::cuda; }
  // Of the job, not of this rank: what all ranks must do alike depends on it.
  bool any_gpu() const { return std::ranges::find(kinds_, DeviceKind::cuda) != kinds_.end(); }
  // The ranks of the replica where layers go from rank to rank, else those that share the layers.
  Communicator& all() const { return all_ ? *all_ : *group_; }
  // The ranks of the job.
  Communicator& job() const { return job_ ? *job_ : all(); }
  Deadline start_deadline() const { return Deadline::after(Seconds(options_.start_timeout)); }
  void together(Seconds limit, const std::function<void()>& work) {
    dinfer::together(*boot_.control, world(), Deadline::after(limit), work);
  }
  void together(const std::function<void()>& work) {
    together(Seconds(options_.start_timeout), work);
  }

  CpuOptions share_host(DeviceKind kind);
  std::string device_name() const;
  void check_limits();
  uint64_t free_memory() const;
  uint64_t weight_bytes(const Shard& shard) const;
  KvType kv_type() const { return wanted_kv_type(options_).value_or(device_->kv_type()); }
  uint64_t kv_block_bytes(const Shard& shard) const {
    return KvCache::bytes_per_block(config_, shard, kv_type(), options_.kv_block_size);
  }
  StepLimits step_limits() const;
  CutRules cut_rules() const {
    return dinfer::cut_rules(options_, checkpoint_.get(), config_, quant_);
  }

  const Options& options_;
  const StartRequest& request_;
  const std::chrono::steady_clock::time_point begin_;
  Bootstrap boot_;
  std::vector<std::string> hosts_;  // by rank
  std::vector<DeviceKind> kinds_;   // by rank
  std::unique_ptr<Device> device_;
  ModelFiles files_;
  std::unique_ptr<Checkpoint> checkpoint_;  // none with a shape
  ModelConfig config_;
  QuantChoice quant_;
  Layout layout_;
  SchedulerLimits limits_;
  std::vector<RankMemory> memory_;     // by rank
  CallTime calls_;                     // of the communicators
  std::unique_ptr<Communicator> job_;  // where there are several replicas
  std::unique_ptr<Communicator> all_;  // where there are several stages
  std::unique_ptr<Communicator> group_;
  std::unique_ptr<Transformer> model_;
  std::unique_ptr<Tokenizer> tokenizer_;  // on the head
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<Worker> worker_;
  std::vector<uint64_t> read_bytes_;  // of weights in a step, by rank
  std::vector<double> measured_;      // by rank
};

void Start::agree_on_options() {
  const BuildInfo build = build_info();
  const Options& o = options_;
  Facts facts{
      {"dinfer", std::string(build.version)},
      {"build", fmt::format("{} {}", build.build_type, build.compiler)},
      {"command", request_.command},
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
      {"--deterministic", request_.deterministic ? "yes" : "no"},
      {"--max-batch-tokens", fmt::to_string(o.max_batch_tokens)},
      {"--step-timeout", fmt::to_string(o.step_timeout)},
      {"--stall-timeout", fmt::to_string(o.stall_timeout)},
      {"--shape", o.shape},
  };
  agree(*boot_.control, world(), facts, start_deadline());
}

void Start::prepare() {
  together([&] {
    if (is_head() && request_.prepare) request_.prepare();
  });
}

CpuOptions Start::share_host(DeviceKind kind) {
  HostShare share =
      share_of_host(*boot_.control, start_deadline(), world(), kind, options_.threads);
  hosts_ = std::move(share.hosts);
  kinds_ = std::move(share.kinds);
  return {.threads = share.threads,
          .math = options_.cpu_math == "f32" ? CpuMath::f32 : CpuMath::automatic,
          .cores = std::move(share.cores)};
}

void Start::open_device() {
  World place = world();
  bool cpu_only = options_.cpu;
  if (layout_.is_mapped()) {
    const DeviceName& device = layout_.devices[static_cast<size_t>(world().rank)];
    place.ordinal = device.ordinal;
    cpu_only = cpu_only || device.cpu;
  }
  const CpuOptions cpu = share_host(device_kind(cpu_only));
  together([&] { device_ = make_device(place, cpu_only, cpu); });
  check_limits();
}

// The rank's device as --memory-limit and topologies name it.
std::string Start::device_name() const {
  if (layout_.is_mapped()) return layout_.devices[static_cast<size_t>(world().rank)].text();
  if (on_gpu()) return device_->name();
  return DeviceName{.cpu = any_gpu(), .ordinal = world().local_rank}.text();
}

void Start::check_limits() {
  if (options_.memory_limit.empty()) return;
  const std::string own = device_name();
  const auto bytes = std::as_bytes(std::span(own));
  std::vector<std::string> devices;
  for (const Bytes& name :
       boot_.control->all_gather({bytes.begin(), bytes.end()}, start_deadline()))
    devices.emplace_back(reinterpret_cast<const char*>(name.data()), name.size());
  together([&] { check_memory_limits(options_.memory_limit, devices); });
}

void Start::read_model() {
  together([&] {
    if (request_.shape) {
      config_ = *request_.shape;
    } else {
      files_ = locate_model(options_.model, options_.revision);
      checkpoint_ = open_checkpoint(files_);
      config_ = read_model_config(files_);
      check_tensors(*checkpoint_, config_);
    }
    quant_ = wanted_quantization(options_, config_);
    layout_ = decide_layout(options_, config_, world(), boot_.sharing, cut_rules());
  });
}

void Start::agree_on_model() {
  const ModelConfig& c = config_;
  agree(*boot_.control, world(),
        {{"model files", checkpoint_ ? checkpoint_->fingerprint() : options_.shape},
         {"model shape",
          fmt::format("{} {}x{}, ffn {}, heads {}:{}x{}, vocabulary {}", c.architecture, c.layers,
                      c.hidden, c.ffn, c.heads, c.kv_heads, c.head_dim, c.vocab)},
         {"layers", describe_owners(placement(), config_.layers)},
         // Devices that a mapping names may differ.
         {"device kind", layout_.is_mapped() ? ""
                         : on_gpu()          ? "cuda"
                                             : "cpu"},
         {"KV type", layout_.is_mapped() ? "" : std::string(name_of(kv_type()))}},
        start_deadline());
}

// CPU ranks of a host share its memory.
uint64_t Start::free_memory() const {
  uint64_t sharers = 1;
  for (size_t rank = 0; rank < kinds_.size() && !on_gpu(); ++rank)
    if (static_cast<int>(rank) != world().rank && kinds_[rank] == DeviceKind::cpu &&
        hosts_[rank] == world().host)
      ++sharers;
  return limited_memory(options_.memory_limit, device_name(), device_->free_memory() / sharers);
}

uint64_t Start::weight_bytes(const Shard& shard) const {
  return checkpoint_ ? planned_weight_bytes(*checkpoint_, config_, shard, quant_)
                     : random_weight_bytes(config_, shard, quant_);
}

StepLimits Start::step_limits() const {
  return {.rows = limits_.max_batch_tokens,
          .logit_rows = limits_.max_logit_rows,
          .positions = limits_.max_seq_len,
          .rows_apart = request_.deterministic};
}

void Start::choose_limits() {
  together([&] {
    limits_.max_batch_tokens = options_.max_batch_tokens > 0 ? options_.max_batch_tokens
                               : any_gpu()                   ? kGpuBatchTokens
                                                             : kCpuBatchTokens;
    limits_.max_seqs =
        static_cast<int32_t>(std::min<int64_t>(request_.max_seqs, limits_.max_batch_tokens));
    limits_.block_size = options_.kv_block_size;
    limits_.prefix_cache = request_.prefix_cache;
    limits_.depth = layout_.depth();
    limits_.replicas = layout_.dp;
    limits_.max_seq_len = wanted_seq_len(options_, config_);
    const int64_t scored = kScoringLogitsBytes / (config_.vocab * int64_t{sizeof(float)});
    limits_.max_logit_rows = std::max<int64_t>(
        limits_.max_seqs, request_.scores ? std::min(scored, limits_.max_batch_tokens) : 1);
    if (!request_.deterministic) return;
    // Room for a part beside all sequences that decode. Kernels of GPUs add up in an order that
    // depends on the number of rows.
    limits_.fixed_chunk =
        std::clamp<int64_t>(limits_.max_batch_tokens - limits_.max_seqs, 1, kFixedChunk);
    limits_.alone = any_gpu();
  });
}

// Layers for devices that nobody mapped: by what each can hold and how fast it reads.
void Start::split_by_speed() {
  if (!layout_.by_speed) return;
  const uint64_t activations = Transformer::activation_bytes(config_, shard(), step_limits());
  const uint64_t free = free_memory();
  const SplitOffer own{.host = world().host,
                       .kind = device_->kind(),
                       .room = free - std::min(free, activations),
                       .read_gb_s = device_->measure_read_bandwidth()};
  AutomaticSplit split = split_automatically(
      *boot_.control, start_deadline(), own,
      {.config = config_,
       .weight_bytes = [this](const Shard& shard) { return weight_bytes(shard); },
       .kv_block_bytes = [this](const Shard& shard) { return kv_block_bytes(shard); },
       .kv_blocks = split_kv_blocks(options_, limits_.max_seq_len),
       .rules = cut_rules()});
  layout_.placement = std::move(split.placement);
  layout_.reason = "automatic split";
  if (is_head()) log::info("automatic split: {}", split.reason);
}

void Start::plan_memory() {
  RankMemory own;
  together([&] {
    own = {.free = free_memory(),
           .weights = weight_bytes(shard()),
           .activations = Transformer::activation_bytes(config_, shard(), step_limits()),
           .kv_block = kv_block_bytes(shard()),
           .device = device_->name()};
  });
  memory_ = gather_memory(*boot_.control, start_deadline(), own);
  together([&] {
    const KvPlan kv = plan_kv(options_, limits_.max_seqs, limits_.max_seq_len, memory_);
    limits_.blocks = static_cast<int32_t>(kv.blocks);
    limits_.max_seq_len = kv.max_seq_len;
  });
}

void Start::report_plan() const {
  log_start({.world = world(),
             .layout = layout_,
             .layers = config_.layers,
             .bootstrap = boot_.name,
             .reason = boot_.reason,
             .transport = boot_.name == "ring" ? "ring"
                          : layout_.tp > 1     ? group_->transport()
                                               : all().message_transport(),
             .nccl = all().transport() == "nccl",
             .hosts = hosts_,
             .kinds = kinds_,
             .memory = memory_,
             .kv_blocks = limits_.blocks});
  if (options_.max_seq_len == 0 && limits_.max_seq_len < config_.max_position) {
    log::info("sequences of up to {} tokens fit, the model allows {}", limits_.max_seq_len,
              config_.max_position);
  }
}

// Before memory is planned: what ranks talk through takes some of a GPU's. Where it fails, it does
// on all ranks alike, or at its end.
void Start::connect() {
  together([&] {
    const auto join = [this](const std::vector<int>& places) {
      return timed(boot_.make_communicator(*device_, ranks_at(places)), calls_);
    };
    if (layout_.dp > 1) job_ = timed(boot_.make_host_communicator(all_ranks(world().size)), calls_);
    if (layout_.pp > 1) all_ = join(all_ranks(layout_.replica_ranks()));
    group_ = join(placement().group_of(place()));
    if (all_) prove_links(*all_, *device_, *boot_.control, layout_.tp, start_deadline());
  });
}

void Start::load() {
  together(kLoadTimeout, [&] {
    std::future<std::unique_ptr<Tokenizer>> tokenizer;
    if (is_head() && (checkpoint_ || !options_.tokenizer.empty())) {
      tokenizer = std::async(std::launch::async,
                             [&] { return load_tokenizer(files_, options_.tokenizer); });
    }
    std::optional<LoadReport> report;
    if (is_head()) report.emplace();
    const auto progress = [&](uint64_t done, uint64_t total) {
      if (report) report->update(done, total);
    };
    ModelWeights weights =
        checkpoint_ ? load_weights(*checkpoint_, config_, shard(), quant_, *device_, progress)
                    : random_weights(config_, shard(), quant_, *device_, 1);
    if (report && checkpoint_) report->finish();
    KvCache cache(*device_, config_, shard(), kv_type(), limits_.block_size, limits_.blocks);
    model_ = std::make_unique<Transformer>(
        *device_,
        ModelPeers{.group = *group_,
                   .all = all(),
                   .stages = placement().stages_of(place()),
                   .on_unit = [control = boot_.control.get()] { control->note_progress(); }},
        config_, shard(), std::move(weights), std::move(cache), step_limits());
    const std::vector<int>& last = placement().stages.back().ranks;
    if (shard().owns(unit::head(config_.layers))) {
      std::vector<Range> slices;
      for (const int rank : last)
        slices.push_back(placement().shards[static_cast<size_t>(rank)].vocab);
      sampler_ = std::make_unique<Sampler>(*device_, *group_, std::move(slices));
    }
    const PlanLimits bounds{.slots = static_cast<uint32_t>(limits_.max_seqs),
                            .blocks = limits_.blocks,
                            .vocab = static_cast<int32_t>(config_.vocab),
                            .rows = limits_.max_batch_tokens,
                            .replicas = static_cast<uint32_t>(limits_.replicas)};
    ResultRoute route{.all = job(), .reporters = {}, .replica = static_cast<uint32_t>(replica())};
    for (int each = 0; each < layout_.dp; ++each)
      route.reporters.push_back(rank_at(last.front(), each));
    worker_ = std::make_unique<Worker>(*model_, sampler_.get(), std::move(route), bounds,
                                       limits_.max_seq_len, calls_);
    if (tokenizer.valid()) tokenizer_ = tokenizer.get();
  });
}

// Tokens through the whole model before the first request: memory is touched and kernels are
// chosen. On a GPU first the largest prompt of a step, for which all workspace is made, and one
// token more often, since repeated steps are recorded. Keys and values lie in the first blocks,
// which whoever takes them overwrites.
void Start::warm_up() {
  if (any_gpu()) {
    const int64_t room = int64_t{limits_.blocks} * limits_.block_size;
    run_tokens(std::min({limits_.max_batch_tokens, limits_.max_seq_len, room}));
    for (int i = 0; i < 2; ++i) run_tokens(1);
  }
  run_tokens(1);
  device_->synchronize();
}

void Start::run_tokens(int64_t count) {
  const std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::vector<int32_t> blocks(
      static_cast<size_t>((count + limits_.block_size - 1) / limits_.block_size));
  std::iota(blocks.begin(), blocks.end(), 0);
  const int64_t row = count - 1;
  const SequenceChunk chunk{.tokens = count, .blocks = blocks};
  model_->forward({.tokens = tokens,
                   .chunks = {&chunk, 1},
                   .length_limits = {&count, 1},
                   .logit_rows = {&row, 1}});
}

void Start::measure() {
  ByteWriter out;
  out.put(static_cast<uint64_t>(model_->weights().bytes_per_step()));
  out.put(request_.measures_reads ? device_->measure_read_bandwidth() : 0.0);
  for (const Bytes& message :
       boot_.control->all_gather(out.take(), Deadline::after(kLoadTimeout))) {
    ByteReader in(message, "figures of a rank");
    read_bytes_.push_back(in.get<uint64_t>());
    measured_.push_back(in.get<double>());
  }
}

// One part of the start: named by errors of a wait that fails, timed in the log.
void Start::phase(const char* name, void (Start::*work)()) {
  boot_.control->set_phase(name);
  const auto begin = std::chrono::steady_clock::now();
  (this->*work)();
  log::debug("{}: {:.3f} s", name, Seconds(std::chrono::steady_clock::now() - begin).count());
}

int Start::run(const Client& client) {
  phase("agree on options", &Start::agree_on_options);
  phase("prepare the command", &Start::prepare);
  phase("read the model's files", &Start::read_model);
  phase("open the device", &Start::open_device);
  phase("choose the limits", &Start::choose_limits);
  phase("share out the layers", &Start::split_by_speed);
  phase("connect the devices", &Start::connect);
  phase("agree on the model", &Start::agree_on_model);
  phase("plan memory", &Start::plan_memory);
  report_plan();
  if (options_.dry_run) return 0;
  phase("load", &Start::load);
  phase("warm up", &Start::warm_up);
  phase("measure", &Start::measure);
  boot_.control->set_phase("loop");
  std::optional<SignalWatch> signals;
  if (is_head() || boot_.head_takes_signals) signals.emplace();
  if (is_head()) return lead(client, *signals);
  // The head speaks to a rank that has done its part only when the other stages and replicas have
  // done theirs.
  const double silence = layout_.pp * layout_.dp > 1
                             ? std::max(options_.stall_timeout, options_.step_timeout)
                             : options_.stall_timeout;
  return run_worker(*worker_, *boot_.control, silence);
}

void Start::disconnect() {
  worker_.reset();
  sampler_.reset();
  model_.reset();
  group_.reset();
  all_.reset();
  job_.reset();
}

int Start::lead(const Client& client, SignalWatch& signals) {
  Engine engine(*worker_, *boot_.control, limits_, options_.step_timeout, options_.stall_timeout);
  Head head{.engine = engine,
            .signals = signals,
            .files = files_,
            .config = config_,
            .tokenizer = tokenizer_.get(),
            .hosts = hosts_,
            .memory = memory_};
  for (int rank = 0; rank < world().size; ++rank)
    head.units.push_back(units_text(layout_.shard_of(rank), config_.layers));
  head.layout = layout_.mode;
  head.device = device_->name();
  head.ranks = world().size;
  head.read_bytes = read_bytes_;
  head.measured = measured_;
  for (int rank = 0; rank < layout_.replica_ranks(); ++rank) {
    head.weight_bytes_per_step += read_bytes_[static_cast<size_t>(rank)];
    head.kv_bytes_per_token +=
        memory_[static_cast<size_t>(rank)].kv_block / static_cast<uint64_t>(limits_.block_size);
  }
  head.load_s = Seconds(std::chrono::steady_clock::now() - begin_).count();
  try {
    const int code = client(head);
    engine.shut_down(code);
    return code;
  } catch (const Error& error) {
    // Where a step broke off, the other ranks do not wait for a plan.
    if (engine.in_step()) throw;
    engine.shut_down(static_cast<int>(error.code()));
    throw JointError(error.code(), error.what());
  }
}

std::string state_path(const Options& options, const World& world) {
  const std::string& folder = options.log.directory;
  return fmt::format("{}dinfer-state-rank{}.json", folder.empty() ? "" : folder + "/", world.rank);
}

OrderedJson describe_rank(const Options& options, const Bootstrap& boot, double seconds) {
  const World& world = boot.world;
  return {{"version", build_info().version},
          {"rank", world.rank},
          {"ranks", world.size},
          {"host", world.host},
          {"pid", getpid()},
          {"bootstrap", boot.name},
          {"model", options.model},
          {"seconds_since_start", seconds},
          {"state", boot.control->state()},
          {"process", describe_process()}};
}

ModelConfig wanted_config(const Options& options, const StartRequest& request) {
  return request.shape ? *request.shape
                       : read_model_config(locate_model(options.model, options.revision));
}

}  // namespace

int run_on_ranks(const Options& options, const StartRequest& request, const Client& client) {
  const auto begin = std::chrono::steady_clock::now();
  reserve_state_signal();
  Bootstrap made = make_bootstrap(
      {.bootstrap = options.bootstrap,
       .mode = options.mode,
       .tp = options.tp,
       .pp = options.pp,
       .dp = options.dp,
       .mapped = [&]() -> std::optional<MappedDevices> {
         if (!asks_for_map(options)) return std::nullopt;
         return mapped_devices(options, wanted_config(options, request));
       },
       .too_large = [&](std::span<const uint64_t> gpus) { return is_too_large(options, gpus); },
       .cpu = options.cpu,
       .security = {.secret_file = options.secret_file,
                    .no_auth = options.insecure_no_auth,
                    .control_interface = options.control_interface},
       .ring_any_size = options.ring_any_size,
       .no_p2p = options.no_p2p,
       .start_timeout = Seconds(options.start_timeout),
       .step_timeout = Seconds(options.step_timeout),
       .stall_timeout = Seconds(options.stall_timeout)});
  if (made.exit_code) return *made.exit_code;
  Start start(options, request, begin, std::move(made));
  const Bootstrap& boot = start.bootstrap();
  configure_log(options.log, boot.world.rank, boot.world.size);
  const StateFile state(state_path(options, boot.world), [&] {
    return describe_rank(options, boot, Seconds(std::chrono::steady_clock::now() - begin).count());
  });
  const auto finish = [&] {
    start.disconnect();
    boot.finish(Deadline::after(kFinishTimeout));
  };
  // As soon as one rank leaves with an error, launchers end the others: what is to be said is said
  // before that.
  const auto say = [&](std::string_view kind, std::string_view what) {
    fmt::print(stderr, "dinfer: [rank {}] {}: {}\n", boot.world.rank, kind, what);
  };
  ExitCode broken = ExitCode::bug;
  try {
    const int code = start.run(client);
    finish();
    return code;
  } catch (const JointError& error) {
    if (boot.world.size == 1) throw;
    if (boot.world.rank == 0) say("error", error.what());
    finish();
    return static_cast<int>(error.code());
  } catch (const Error& error) {
    if (boot.world.size == 1) throw;
    say("error", error.what());
    broken = error.code();
  } catch (const std::exception& error) {
    if (boot.world.size == 1) throw;
    say("internal error, please report it", error.what());
  }
  boot.control->abort(broken);
  return static_cast<int>(
      broken);  // not reached; GCC does not believe [[noreturn]] of virtual calls
}

}  // namespace dinfer
