#include "cli/start_rank.h"

#include <algorithm>
#include <optional>

#include "base/log.h"
#include "cli/start_facts.h"
#include "cli/start_limits.h"
#include "cli/start_memory.h"
#include "cli/start_report.h"
#include "cli/start_split.h"
#include "cli/start_together.h"
#include "comm/link_proof.h"
#include "engine/bytes.h"

namespace dinfer {

namespace {

using Seconds = std::chrono::duration<double>;

// Ranks may read their slices at very different speeds; one that died is noticed at once all the
// same.
constexpr Seconds kLoadTimeout{24 * 3600};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return Seconds(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

int StartingRank::run(const Client& client) {
  phase("agree on options", [&] {
    agree(*boot_.control, world(), option_facts(options_, request_), start_deadline(options_));
  });
  phase("prepare the command", [&] {
    together([&] {
      if (is_head() && request_.prepare) request_.prepare();
    });
  });
  phase("read the model's files", [&] { read_model(); });
  phase("open the device", [&] { own_ = open_device(options_, boot_, layout_); });
  phase("choose the limits", [&] {
    together([&] {
      limits_ = choose_limits(options_, request_, model_.config, layout_, own_.any_gpu());
    });
  });
  phase("share out the layers", [&] { split_by_speed(); });
  phase("connect the devices", [&] { connect(); });
  phase("agree on the model", [&] { agree_on_model(); });
  phase("plan memory", [&] { plan_memory(); });
  phase("read the model's texts", [&] { finish_texts(); });
  report_plan();
  if (options_.dry_run) return 0;
  phase("load", [&] { load(); });
  phase("warm up", [&] { warm_up(*loaded_->model, *own_.device, limits_, own_.any_gpu()); });
  phase("measure", [&] { measure(); });
  boot_.control->set_phase("loop");
  return loop(client);
}

void StartingRank::disconnect() {
  loaded_.reset();
  peers_.disconnect();
}

// One part of the start: named by errors of a wait that fails, timed in the log.
void StartingRank::phase(const char* name, const std::function<void()>& work) {
  boot_.control->set_phase(name);
  const auto begin = std::chrono::steady_clock::now();
  work();
  log::debug("{}: {:.3f} s", name, seconds_since(begin));
}

void StartingRank::together(const std::function<void()>& work) {
  dinfer::together(*boot_.control, world(), start_deadline(options_), work);
}

KvType StartingRank::kv_type() const {
  return wanted_kv_type(options_).value_or(own_.device->kv_type());
}

uint64_t StartingRank::kv_block_bytes(const Shard& shard) const {
  return KvCache::bytes_per_block(model_.config, shard, kv_type(), options_.kv_block_size);
}

uint64_t StartingRank::activation_bytes() const {
  return Transformer::activation_bytes(model_.config, shard(), limits_of_step());
}

StepLimits StartingRank::limits_of_step() const {
  return step_limits(limits_, request_.deterministic);
}

CutRules StartingRank::rules() const {
  return cut_rules(options_, model_.checkpoint.get(), model_.config, model_.quant);
}

void StartingRank::read_model() {
  together([&] {
    model_ = open_model(options_, request_);
    layout_ = decide_layout(options_, model_.config, world(), boot_.sharing, rules());
  });
  if (!is_head()) return;
  reading_texts_ = std::async(std::launch::async,
                              [this] { return read_texts(options_, request_, model_.files); });
}

// Read while devices were opened and connected. Before weights are: those may take minutes.
void StartingRank::finish_texts() {
  together([&] {
    if (is_head()) texts_ = reading_texts_.get();
  });
}

// Layers for devices that nobody mapped: by what each can hold and how fast it reads.
void StartingRank::split_by_speed() {
  if (!layout_.by_speed) return;
  const uint64_t free = free_memory(own_, options_, world());
  const SplitOffer offer{.host = world().host,
                         .kind = own_.device->kind(),
                         .room = free - std::min(free, activation_bytes()),
                         .read_gb_s = own_.device->measure_read_bandwidth()};
  AutomaticSplit split = split_automatically(
      *boot_.control, start_deadline(options_), offer,
      {.config = model_.config,
       .weight_bytes = [this](const Shard& shard) { return model_.weight_bytes(shard); },
       .kv_block_bytes = [this](const Shard& shard) { return kv_block_bytes(shard); },
       .kv_blocks = split_kv_blocks(options_, limits_.max_seq_len),
       .rules = rules()});
  layout_.placement = std::move(split.placement);
  layout_.reason = "automatic split";
  if (is_head()) log::info("automatic split: {}", split.reason);
}

// Before memory is planned: what ranks talk through takes some of a GPU's.
void StartingRank::connect() {
  together([&] {
    peers_.connect(boot_, layout_, *own_.device);
    if (layout_.pp > 1)
      prove_links(peers_.replica(), *own_.device, *boot_.control, layout_.tp,
                  start_deadline(options_));
  });
}

void StartingRank::agree_on_model() {
  agree(*boot_.control, world(),
        model_facts(model_.identity, model_.config, layout_, own_.device->kind(), kv_type()),
        start_deadline(options_));
}

void StartingRank::plan_memory() {
  RankMemory own;
  together([&] {
    own = {.free = free_memory(own_, options_, world()),
           .weights = model_.weight_bytes(shard()).all(),
           .activations = activation_bytes(),
           .position = Transformer::bytes_per_position(model_.config, shard(), limits_.max_seq_len),
           .kv_block = kv_block_bytes(shard()),
           .device = own_.device->name(),
           .shared = !own_.on_gpu()};
  });
  memory_ = gather_memory(*boot_.control, start_deadline(options_), own);
  together([&] {
    const KvPlan kv = plan_kv(options_, limits_.max_seqs, limits_.max_seq_len, memory_);
    limits_.blocks = static_cast<int32_t>(kv.blocks);
    limits_.max_seq_len = kv.max_seq_len;
  });
}

void StartingRank::report_plan() const {
  log_start({.world = world(),
             .layout = layout_,
             .layers = model_.config.layers,
             .bootstrap = boot_.name,
             .reason = boot_.reason,
             .transport = peers_.transport(boot_, layout_),
             .nccl = peers_.replica().transport() == "nccl",
             .hosts = own_.hosts,
             .kinds = own_.kinds,
             .memory = memory_,
             .kv_blocks = limits_.blocks});
  if (options_.max_seq_len == 0 && limits_.max_seq_len < model_.config.max_position) {
    log::info("sequences of up to {} tokens fit, the model allows {}", limits_.max_seq_len,
              model_.config.max_position);
  }
}

void StartingRank::load() {
  dinfer::together(*boot_.control, world(), Deadline::after(kLoadTimeout), [&] {
    loaded_ = load_rank({.source = model_,
                         .layout = layout_,
                         .boot = boot_,
                         .peers = peers_,
                         .device = *own_.device,
                         .kv_type = kv_type(),
                         .limits = limits_,
                         .step = limits_of_step()});
  });
}

void StartingRank::measure() {
  ByteWriter out;
  const WeightBytes bytes = loaded_->model->weights().bytes_per_step();
  out.put(bytes.always);
  out.put(bytes.experts);
  out.put(request_.measures_reads ? own_.device->measure_read_bandwidth() : 0.0);
  for (const Bytes& message :
       boot_.control->all_gather(out.take(), Deadline::after(kLoadTimeout))) {
    ByteReader in(message, "figures of a rank");
    const auto always = in.get<uint64_t>();
    read_bytes_.push_back({.always = always, .experts = in.get<uint64_t>()});
    measured_.push_back(in.get<double>());
  }
}

int StartingRank::loop(const Client& client) {
  std::optional<SignalWatch> signals;
  if (is_head() || boot_.head_takes_signals) signals.emplace();
  if (is_head()) return lead(client, *signals);
  // The head speaks to a rank that has done its part only when the other stages and replicas have
  // done theirs.
  const double silence = layout_.pp * layout_.dp > 1
                             ? std::max(options_.stall_timeout, options_.step_timeout)
                             : options_.stall_timeout;
  return run_worker(*loaded_->worker, *boot_.control, silence);
}

int StartingRank::lead(const Client& client, SignalWatch& signals) {
  Engine engine(*loaded_->worker, *boot_.control, limits_, options_.step_timeout,
                options_.stall_timeout);
  Head head{.engine = engine,
            .signals = signals,
            .config = model_.config,
            .tokenizer = texts_.tokenizer.get(),
            .chat_template = texts_.chat_template,
            .generation = texts_.generation,
            .hosts = own_.hosts,
            .memory = memory_};
  for (int rank = 0; rank < world().size; ++rank)
    head.units.push_back(units_text(layout_.shard_of(rank), model_.config.layers));
  head.layout = layout_.mode;
  head.device = own_.device->name();
  head.ranks = world().size;
  head.read_bytes = read_bytes_;
  head.measured = measured_;
  for (int rank = 0; rank < layout_.replica_ranks(); ++rank) {
    const WeightBytes& own = read_bytes_[static_cast<size_t>(rank)];
    head.weight_bytes.always += own.always;
    head.weight_bytes.experts += own.experts;
    head.kv_bytes_per_token +=
        memory_[static_cast<size_t>(rank)].kv_block / static_cast<uint64_t>(limits_.block_size);
  }
  head.load_s = seconds_since(begin_);
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

}  // namespace dinfer
