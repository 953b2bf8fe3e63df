#include "model/transformer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace dinfer {
namespace {

int64_t wide_floats(const ModelConfig& config, const Shard& shard, const StepLimits& limits) {
  const int64_t qkv = (shard.heads.size() + 2 * shard.kv_heads.size()) * config.head_dim;
  return std::max(limits.rows * std::max(qkv, 2 * shard.ffn.size()),
                  limits.logit_rows * shard.vocab.size());
}

double score_divisor(const ModelConfig& config) {
  return config.score_divisor > 0 ? config.score_divisor : static_cast<double>(config.head_dim);
}

// Of what attention or MLP adds, where it is normed by itself.
int64_t branch_floats(const ModelConfig& config, const StepLimits& limits) {
  return config.post_norms ? limits.rows * config.hidden : 0;
}

// What devices keep of the work of experts: of each row that one takes its input, gate and up, and
// output.
int64_t expert_floats(const ModelConfig& config, const Shard& shard, const StepLimits& limits) {
  return limits.rows * config.experts.chosen * 2 * (config.hidden + shard.expert_ffn.size());
}

// A rank that owns no unit, as one that an automatic split left out, works on no rows.
StepLimits limits_of(const Shard& shard, const StepLimits& limits) {
  return shard.units.empty() ? StepLimits{.rows = 0, .logit_rows = 0} : limits;
}

bool owns_attention(const ModelConfig& config, const Shard& shard) {
  for (int64_t layer = 0; layer < config.layers; ++layer)
    if (shard.owns(unit::attention(layer))) return true;
  return false;
}

}  // namespace

// The forward pass reads from here down: stages of units, which are the embedding, attention and
// MLP of the layers, and the head. Matrices before a sum over the group hold this rank's columns,
// the others its rows (Megatron-LM's split, https://arxiv.org/abs/1909.08053); the residual stream
// is whole, and equal, on every rank of the group.
Tensor Transformer::forward(const StepInput& step) {
  if (peers_.stages.empty()) return {};
  take_chunks(step);
  take_rows(step);
  device_.run({.tokens = tokens_, .chunks = chunks_, .gathered_rows = logit_rows_}, recordable_,
              [&] { compute(std::ssize(tokens_), std::ssize(logit_rows_)); });
  moved_bytes_ += tokens_.size() * moved_bytes_per_row();
  return view(*wide_, std::ssize(step.logit_rows), shard_.vocab.size());
}

void Transformer::compute(int64_t rows, int64_t wanted) {
  Tensor hidden = view(*hidden_, rows, config_.hidden);
  const auto bytes = std::as_writable_bytes(
      std::span(hidden.data, static_cast<size_t>(hidden.rows * hidden.columns)));
  for (const OwnStage& stage : peers_.stages) {
    if (stage.from >= 0) peers_.all.receive(stage.from, bytes);
    for (int64_t unit = stage.units.begin; unit < stage.units.end; ++unit) {
      run_unit(unit, hidden, wanted);
      peers_.on_unit();
    }
    if (stage.to >= 0) peers_.all.send(stage.to, bytes);
  }
}

void Transformer::run_unit(int64_t unit, Tensor hidden, int64_t wanted) {
  if (unit == unit::kEmbed) return embed(hidden);
  if (unit == unit::head(config_.layers)) return head(hidden, wanted);
  const int64_t layer = (unit - 1) / 2;
  unit == unit::attention(layer) ? attention(layer, hidden) : mlp(layer, hidden);
}

void Transformer::embed(Tensor hidden) {
  device_.embed(*weights_.embedding, shard_.vocab.begin, config_.embedding_scale, hidden);
  sum_over_group(hidden);
}

// hidden += post_norm(output(attend(qkv(norm(hidden)))))
void Transformer::attention(int64_t layer, Tensor hidden) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  Tensor qkv = view(*wide_, hidden.rows, w.qkv->rows());
  Tensor mixed = view(*mixed_, hidden.rows, w.output->columns());
  Tensor out = branch(hidden);

  device_.norm_linear(hidden, w.attention_norm.data(), epsilon(), *w.qkv, w.qkv_bias.data(), qkv);
  device_.attend(qkv, attention_spec(layer), rotations(layer), cache_.layer(layer), mixed);
  device_.linear(mixed, *w.output, w.output_bias.data(), out, branch_output());
  join(out, w.output_norm, hidden);
}

// hidden += post_norm(down(activation(gate(norm(hidden))) * up(norm(hidden)))), or what experts
// make of norm(hidden)
void Transformer::mlp(int64_t layer, Tensor hidden) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  Tensor out = branch(hidden);
  if (w.router) {
    device_.experts(hidden, w.mlp_norm.data(), epsilon(), *w.router, *w.gate_up, *w.down,
                    expert_spec(), out, branch_output());
    return join(out, w.down_norm, hidden);
  }
  Tensor gate_up = view(*wide_, hidden.rows, w.gate_up->rows());

  device_.norm_linear(hidden, w.mlp_norm.data(), epsilon(), *w.gate_up, w.gate_up_bias.data(),
                      gate_up);
  device_.gated_linear(gate_up, config_.activation, *w.down, w.down_bias.data(), out,
                       branch_output());
  join(out, w.down_norm, hidden);
}

// logits = head(norm(hidden)), of the rows that are wanted
void Transformer::head(Tensor hidden, int64_t wanted) {
  if (wanted == 0) return;
  Tensor logits = view(*wide_, wanted, shard_.vocab.size());
  Tensor last = view(*last_, wanted, config_.hidden);
  device_.gather_rows(hidden, last);
  device_.norm_linear(last, weights_.final_norm.data(), epsilon(), *weights_.head, nullptr, logits);
}

// Where what attention or MLP adds is written: into the residual stream itself, as a term of one
// rank's partial sum, unless it is to be normed, whole, before.
Tensor Transformer::branch(Tensor hidden) {
  return config_.post_norms ? view(*branch_, hidden.rows, hidden.columns) : hidden;
}

Output Transformer::branch_output() const {
  const bool added = !config_.post_norms && peers_.group.rank() == 0;
  return added ? Output::added_to : Output::replaced;
}

void Transformer::join(Tensor branch, const DeviceVector& post_norm, Tensor hidden) {
  sum_over_group(branch);
  if (config_.post_norms) device_.add_normed(branch, post_norm.data(), epsilon(), hidden);
}

void Transformer::sum_over_group(Tensor part) {
  const int64_t together = limits_.rows_apart ? 1 : part.rows;
  for (int64_t row = 0; row < part.rows; row += together)
    peers_.group.all_reduce_sum(
        {part.data + row * part.columns, static_cast<size_t>(together * part.columns)});
}

uint64_t Transformer::moved_bytes_per_row() const {
  int64_t times = 0;
  for (const OwnStage& stage : peers_.stages) {
    times += (stage.from >= 0) + (stage.to >= 0);
    if (peers_.group.size() == 1) continue;
    const bool has_head = stage.units.end > unit::head(config_.layers);  // which sums up nothing
    times += stage.units.size() - (has_head ? 1 : 0);
  }
  return static_cast<uint64_t>(times * config_.hidden) * sizeof(float);
}

AttentionSpec Transformer::attention_spec(int64_t layer) const {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  return {.heads = shard_.heads.size(),
          .scale = static_cast<float>(1.0 / std::sqrt(score_divisor(config_))),
          .window = config_.window[static_cast<size_t>(layer)],
          .q_norm = w.q_norm.data(),
          .k_norm = w.k_norm.data(),
          .norm_epsilon = epsilon()};
}

std::span<const RopeTable> Transformer::rotations(int64_t layer) const {
  return rope_.of_layers(config_.rotates_otherwise(layer));
}

ExpertSpec Transformer::expert_spec() const {
  return {.experts = config_.experts.count,
          .chosen = config_.experts.chosen,
          .normalized = config_.experts.normalized,
          .activation = config_.activation};
}

// Checks the step against the limits and gives its chunks their rotations.
void Transformer::take_chunks(const StepInput& step) {
  check(std::ssize(step.tokens) <= limits_.rows, "a step holds at most limits.rows tokens");
  check(std::ssize(step.logit_rows) <= limits_.logit_rows, "too many logit rows in a step");
  check(step.length_limits.size() == step.chunks.size(), "every chunk has a length limit");
  chunks_.assign(step.chunks.begin(), step.chunks.end());
  for (size_t i = 0; i < chunks_.size(); ++i) {
    check(chunks_[i].position + chunks_[i].tokens <= limits_.positions,
          "position past limits.positions");
    chunks_[i].rotation = rope_.table_for(step.length_limits[i]);
    if (attends_) rope_.prepare(chunks_[i].position + chunks_[i].tokens);
  }
}

// A step of one token a sequence gets as many rows as the device likes, where it records steps (and
// then all devices are of one kind): those past the sequences have a token that is in no embedding,
// and nobody looks at their logits.
void Transformer::take_rows(const StepInput& step) {
  tokens_.assign(step.tokens.begin(), step.tokens.end());
  logit_rows_.assign(step.logit_rows.begin(), step.logit_rows.end());
  const size_t rows = tokens_.size();
  if (!recordable_ || chunks_.size() != rows || logit_rows_.size() != rows) return;
  const int64_t most = std::min(limits_.rows, limits_.logit_rows);
  const auto padded =
      static_cast<size_t>(std::min(device_.recurring_rows(static_cast<int64_t>(rows)), most));
  tokens_.resize(padded, -1);
  logit_rows_.resize(padded, 0);
}

Tensor Transformer::view(Buffer& buffer, int64_t rows, int64_t columns) const {
  check(static_cast<size_t>(rows * columns) * sizeof(float) <= buffer.bytes(),
        "an activation fits its buffer");
  return {reinterpret_cast<float*>(buffer.data()), rows, columns};
}

Transformer::Transformer(Device& device, const ModelPeers& peers, const ModelConfig& config,
                         const Shard& shard, ModelWeights weights, KvCache cache,
                         const StepLimits& limits)
    : device_(device),
      peers_(peers),
      recordable_(peers.group.recordable() && peers.all.recordable()),
      config_(config),
      shard_(shard),
      weights_(std::move(weights)),
      cache_(std::move(cache)),
      attends_(owns_attention(config, shard)),
      rope_(device, config, attends_ ? limits.positions : 0),
      limits_(limits) {
  check(peers.group.rank() == shard.rank && peers.group.size() == shard.size,
        "the shard is of this group");
  check(std::ssize(config.window) == config.layers, "every layer has a window");
  check(config.experts.count == 0 || std::ssize(config.experts.layers) == config.layers,
        "every layer has experts or not");
  auto floats = [&](int64_t count) {
    return device.allocate(static_cast<size_t>(count) * sizeof(float));
  };
  const StepLimits own = limits_of(shard, limits);
  hidden_ = floats(own.rows * config.hidden);
  last_ = floats(own.logit_rows * config.hidden);
  mixed_ = floats(own.rows * shard.heads.size() * config.head_dim);
  wide_ = floats(wide_floats(config, shard, own));
  branch_ = floats(branch_floats(config, own));
}

size_t Transformer::activation_bytes(const ModelConfig& config, const Shard& shard,
                                     const StepLimits& limits) {
  const StepLimits own = limits_of(shard, limits);
  const int64_t floats = (own.rows + own.logit_rows) * config.hidden +
                         own.rows * shard.heads.size() * config.head_dim +
                         wide_floats(config, shard, own) + branch_floats(config, own) +
                         expert_floats(config, shard, own);
  return static_cast<size_t>(floats) * sizeof(float);
}

size_t Transformer::bytes_per_position(const ModelConfig& config, const Shard& shard,
                                       int64_t positions) {
  return owns_attention(config, shard) ? Rope::bytes_per_position(config, positions) : 0;
}

}  // namespace dinfer
