#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/model_config.h"
#include "device/device.h"

namespace dinfer {

// How many of a head's values are rotated, the first ones: an even number, else Error(model_files).
int64_t rotary_dim(const ModelConfig& config);

// What rotates a head: pair i of a head turns by position * inverse[i], and cosine and sine are
// multiplied by `attention_factor`.
struct RopeFrequencies {
  std::vector<float> inverse;  // [rotary_dim / 2]
  float attention_factor = 1.0f;
};

// The frequencies for a sequence of `length` tokens, computed as Hugging Face's modeling_rope_utils
// does. Only `dynamic` and `longrope` depend on the length.
RopeFrequencies rope_frequencies(const ModelConfig& config, int64_t length);

// The rotation tables of one model in device memory, with room for positions [0, positions). Rows
// are computed when sequences come near them, so that a model made for long ones starts no later.
//
// `dynamic` and `longrope` rotate sequences differently once they are longer than the model's
// original context. Hugging Face decides at each forward pass from the length so far, which leaves
// keys of both kinds in one cache. Here a sequence keeps one table for life, chosen by the most
// tokens it may come to: up to the original context the usual angles, beyond it longrope's long
// factors, or for dynamic the base that belongs to a length of `positions`. Sequences that end
// within the original context, and longrope prompts beyond it, get exactly Hugging Face's angles.
//
// Where some layers rotate by other frequencies, they have as many tables.
class Rope {
 public:
  Rope(Device& device, const ModelConfig& config, int64_t positions);

  // Of those layers, or of the usual ones: one table, or two where the length matters.
  std::span<const RopeTable> of_layers(bool other) const {
    return std::span(tables_).subspan(other ? tables_.size() - lengths_ : 0, lengths_);
  }
  // Which of them a sequence has that may come to `length` tokens.
  int table_for(int64_t length) const { return lengths_ > 1 && length > original_ ? 1 : 0; }

  // Before a step whose tokens stand at positions [0, positions).
  void prepare(int64_t positions);

  // Device memory of a position, in tables for `positions` of them.
  static size_t bytes_per_position(const ModelConfig& config, int64_t positions);

 private:
  void add_table(RopeFrequencies frequencies);
  void compute(int64_t begin, int64_t end);

  Device& device_;
  int64_t original_;
  int64_t positions_;
  size_t lengths_;                            // tables of each kind of layer
  int64_t prepared_ = 0;                      // positions whose rows are there
  std::vector<RopeFrequencies> frequencies_;  // by table
  std::vector<std::unique_ptr<Buffer>> cosine_, sine_;
  std::vector<RopeTable> tables_;
};

}  // namespace dinfer
