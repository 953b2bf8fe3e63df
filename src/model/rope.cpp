#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace dinfer {
namespace {

// Rows of the tables that are computed together: some milliseconds of work.
constexpr int64_t kPositionsAtOnce = 4096;

// Single precision where Hugging Face works on f32 tensors, double where on Python numbers, so that
// angles at high positions agree.

// The longest sequence that is rotated as in the model's first training.
int64_t original_context(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  // modeling_rope_utils scales `dynamic` from the model's own limit, whatever else is given.
  if (rope.type == RopeType::dynamic || rope.original_max_position <= 0) return config.max_position;
  return rope.original_max_position;
}

bool depends_on_length(const RopeConfig& rope) {
  return rope.frequency_divisors.empty() &&
         (rope.type == RopeType::dynamic || rope.type == RopeType::longrope);
}

// How many tables sequences of up to `positions` tokens choose from.
size_t lengths(const ModelConfig& config, int64_t positions) {
  return depends_on_length(config.rope) && positions > original_context(config) ? 2 : 1;
}

// The model as most of its layers have it, and as those have it that rotate otherwise.
std::vector<ModelConfig> kinds_of_layers(const ModelConfig& config) {
  std::vector<ModelConfig> kinds{config};
  if (config.other_rope) kinds.emplace_back(config).rope = *config.other_rope;
  return kinds;
}

// theta^(2i / dim) for pair i.
std::vector<float> periods(double theta, int64_t dim) {
  std::vector<float> result(static_cast<size_t>(dim / 2));
  for (size_t i = 0; i < result.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    result[i] = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  return result;
}

std::vector<float> reciprocals(std::vector<float> values) {
  for (float& value : values) value = 1.0f / value;
  return values;
}

double dynamic_theta(const ModelConfig& config, int64_t dim, int64_t length) {
  const double factor = config.rope.factor;
  const auto context = static_cast<double>(config.max_position);
  const double stretch = factor * std::max(static_cast<double>(length), context) / context;
  const auto d = static_cast<double>(dim);
  return config.rope.theta * std::pow(stretch - (factor - 1.0), d / (d - 2.0));
}

// Long wavelengths are stretched, short ones kept, those between blended.
void apply_llama3(const RopeConfig& rope, int64_t context, std::vector<float>& inverse) {
  const auto length = static_cast<float>(context);
  const auto low = static_cast<float>(rope.low_frequency_factor);
  const auto high = static_cast<float>(rope.high_frequency_factor);
  const auto factor = static_cast<float>(rope.factor);
  for (float& frequency : inverse) {
    const float wavelength = 2.0f * std::numbers::pi_v<float> / frequency;
    if (wavelength > length / low) {
      frequency /= factor;
    } else if (wavelength >= length / high) {
      const float blend = (length / wavelength - low) / (high - low);
      frequency = (1.0f - blend) * frequency / factor + blend * frequency;
    }
  }
}

// YaRN (https://arxiv.org/abs/2309.00071): pairs that turn often within the original context keep
// their frequency, pairs that turn less than once are interpolated, a ramp lies between.
void apply_yarn(const RopeConfig& rope, int64_t context, int64_t dim, std::vector<float>& inverse) {
  auto pair_with_rotations = [&](double rotations) {
    return static_cast<double>(dim) *
           std::log(static_cast<double>(context) / (rotations * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(rope.theta));
  };
  double low = pair_with_rotations(rope.beta_fast);
  double high = pair_with_rotations(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;
  for (size_t i = 0; i < inverse.size(); ++i) {
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
        1.0f);
    const float stretched = inverse[i] / static_cast<float>(rope.factor);
    inverse[i] = stretched * ramp + inverse[i] * (1.0f - ramp);
  }
}

double yarn_mscale(double factor, double weight) {
  return factor <= 1.0 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

double yarn_attention_factor(const RopeConfig& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  const double mscale = rope.mscale.value_or(0.0);
  const double mscale_all_dim = rope.mscale_all_dim.value_or(0.0);
  if (mscale != 0.0 && mscale_all_dim != 0.0) {
    return yarn_mscale(rope.factor, mscale) / yarn_mscale(rope.factor, mscale_all_dim);
  }
  return yarn_mscale(rope.factor, 1.0);
}

// Files of Phi-3 give no factor: it is then the ratio of the two context lengths.
double longrope_attention_factor(const ModelConfig& config, int64_t context) {
  const RopeConfig& rope = config.rope;
  if (rope.attention_factor) return *rope.attention_factor;
  const auto original = static_cast<double>(context);
  const double factor =
      rope.factor != 1.0 ? rope.factor : static_cast<double>(config.max_position) / original;
  return factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(factor) / std::log(original));
}

// What each pair's frequency is divided by.
void divide(std::vector<float>& inverse, const std::vector<double>& divisors, const char* what) {
  if (divisors.size() != inverse.size()) {
    fail(ExitCode::model_files, "rope: {} has {} values, the model rotates {} pairs a head", what,
         divisors.size(), inverse.size());
  }
  for (size_t i = 0; i < inverse.size(); ++i) inverse[i] /= static_cast<float>(divisors[i]);
}

}  // namespace

int64_t rotary_dim(const ModelConfig& config) {
  const double share = config.rope.partial_rotary_factor;
  const auto dim = static_cast<int64_t>(static_cast<double>(config.head_dim) * share);
  if (dim < 2 || dim % 2 != 0 || dim > config.head_dim) {
    fail(ExitCode::model_files,
         "rope: a partial_rotary_factor of {} rotates {} of {} values a head; it must be an even "
         "number of them",
         share, dim, config.head_dim);
  }
  return dim;
}

RopeFrequencies rope_frequencies(const ModelConfig& config, int64_t length) {
  const RopeConfig& rope = config.rope;
  const int64_t dim = rotary_dim(config);
  const int64_t context = original_context(config);
  RopeFrequencies result{.inverse = reciprocals(periods(rope.theta, dim))};
  if (!rope.frequency_divisors.empty()) {
    divide(result.inverse, rope.frequency_divisors, "rope_freqs");
    return result;
  }
  switch (rope.type) {
    case RopeType::none:
      break;
    case RopeType::still:
      std::ranges::fill(result.inverse, 0.0f);
      break;
    case RopeType::linear:
      for (float& frequency : result.inverse) frequency /= static_cast<float>(rope.factor);
      break;
    case RopeType::dynamic:
      result.inverse = reciprocals(periods(dynamic_theta(config, dim, length), dim));
      break;
    case RopeType::llama3:
      apply_llama3(rope, context, result.inverse);
      break;
    case RopeType::yarn:
      apply_yarn(rope, context, dim, result.inverse);
      result.attention_factor = static_cast<float>(yarn_attention_factor(rope));
      break;
    case RopeType::longrope:
      if (length > context) {
        divide(result.inverse, rope.long_factor, "long_factor");
      } else {
        divide(result.inverse, rope.short_factor, "short_factor");
      }
      result.attention_factor = static_cast<float>(longrope_attention_factor(config, context));
      break;
  }
  return result;
}

Rope::Rope(Device& device, const ModelConfig& config, int64_t positions)
    : device_(device),
      original_(original_context(config)),
      positions_(positions),
      lengths_(lengths(config, positions)) {
  for (const ModelConfig& layers : kinds_of_layers(config)) {
    for (size_t i = 0; i < lengths_; ++i)
      add_table(rope_frequencies(layers, i == 0 ? original_ : positions));
  }
}

void Rope::add_table(RopeFrequencies frequencies) {
  const size_t half = frequencies.inverse.size();
  const size_t bytes = static_cast<size_t>(positions_) * half * sizeof(float);
  frequencies_.push_back(std::move(frequencies));
  cosine_.push_back(device_.allocate(bytes));
  sine_.push_back(device_.allocate(bytes));
  tables_.push_back({.cosine = reinterpret_cast<const float*>(cosine_.back()->data()),
                     .sine = reinterpret_cast<const float*>(sine_.back()->data()),
                     .positions = positions_,
                     .rotary_dim = static_cast<int64_t>(2 * half)});
}

void Rope::prepare(int64_t positions) {
  check(positions <= positions_, "a position within the rotation tables");
  if (positions <= prepared_) return;
  const int64_t wanted = (positions + kPositionsAtOnce - 1) / kPositionsAtOnce * kPositionsAtOnce;
  const int64_t end = std::min(wanted, positions_);
  compute(prepared_, end);
  prepared_ = end;
}

void Rope::compute(int64_t begin, int64_t end) {
  for (size_t table = 0; table < tables_.size(); ++table) {
    const auto& [inverse, factor] = frequencies_[table];
    std::vector<float> cosine, sine;
    cosine.reserve(static_cast<size_t>(end - begin) * inverse.size());
    sine.reserve(cosine.capacity());
    for (int64_t position = begin; position < end; ++position) {
      for (const float frequency : inverse) {
        const float angle = static_cast<float>(position) * frequency;
        cosine.push_back(static_cast<float>(std::cos(double{angle})) * factor);
        sine.push_back(static_cast<float>(std::sin(double{angle})) * factor);
      }
    }
    const size_t before = static_cast<size_t>(begin) * inverse.size() * sizeof(float);
    device_.copy_in(cosine_[table]->data() + before, std::as_bytes(std::span(cosine)));
    device_.copy_in(sine_[table]->data() + before, std::as_bytes(std::span(sine)));
  }
}

size_t Rope::bytes_per_position(const ModelConfig& config, int64_t positions) {
  size_t columns = 0;
  for (const ModelConfig& layers : kinds_of_layers(config))
    columns += static_cast<size_t>(rotary_dim(layers)) * lengths(config, positions);
  return columns * sizeof(float);
}

}  // namespace dinfer
