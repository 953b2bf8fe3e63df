#include "device/cpu_experts.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "device/cpu_parts.h"
#include "kernels/cpu/vector_ops.h"

namespace dinfer {
namespace {

using cpu::Range;
using cpu::Rows;

// Calls body(row) for all rows, of `elements` each.
template <class Body>
void for_rows(cpu::ThreadPool& pool, int64_t rows, int64_t elements, const Body& body) {
  for_parts(pool, rows, elements, [&](Range part) {
    for (int64_t row = part.begin; row < part.end; ++row) body(row);
  });
}

}  // namespace

void CpuExperts::run(Tensor in, const float* norm, float epsilon, const CpuWeight& router,
                     const CpuWeight& gate_up, const CpuWeight& down, const ExpertSpec& spec,
                     Tensor out, Output output) {
  if (in.rows == 0) return;
  const int64_t pairs = in.rows * spec.chosen, ffn = down.columns();
  float* scores = scores_.get<float>(in.rows * spec.experts);
  float* gates = gates_.get<float>(pairs * 2 * ffn);
  float* products = products_.get<float>(pairs * out.columns);

  Rows x{.kind = Rows::Kind::normed,
         .data = in.data,
         .count = in.rows,
         .stride = in.columns,
         .columns = in.columns,
         .norm = norm,
         .epsilon = epsilon};
  linear_.run_f32(x, router, {.data = scores, .stride = spec.experts});
  choose(scores, in.rows, spec);
  put_in_order(in.rows, spec);

  // A row alone is prepared once for all of its experts.
  if (in.rows > 1) {
    x.picked = picked_.data();
    x.count = pairs;
    for (RowGroup& group : groups_) group.first = group.to;
  }
  linear_.run(x, gate_up, groups_, {.data = gates, .stride = 2 * ffn});
  for (RowGroup& group : groups_) group.first = group.to;
  linear_.run({.kind = Rows::Kind::gated,
               .data = gates,
               .count = pairs,
               .stride = 2 * ffn,
               .columns = ffn,
               .activation = spec.activation},
              down, groups_, {.data = products, .stride = out.columns});
  mix(products, out, output);
}

// The experts of each row and their weights.
void CpuExperts::choose(const float* scores, int64_t rows, const ExpertSpec& spec) {
  choices_.resize(rows * spec.chosen);
  for_rows(pool_, rows, spec.experts * spec.chosen, [&](int64_t row) {
    const float* of_row = scores + row * spec.experts;
    const std::span best(choices_.data() + row * spec.chosen, static_cast<size_t>(spec.chosen));
    int64_t found = 0;
    for (int64_t expert = 0; expert < spec.experts; ++expert) {
      int64_t at = found;
      while (at > 0 && of_row[expert] > of_row[best[at - 1].expert]) --at;
      if (at == spec.chosen) continue;
      found = std::min(found + 1, spec.chosen);
      for (int64_t i = found - 1; i > at; --i) best[i] = best[i - 1];
      best[at].expert = expert;
    }
    const float top = of_row[best[0].expert];
    float sum = 0;
    for (Choice& choice : best) sum += choice.weight = std::exp(of_row[choice.expert] - top);
    if (!spec.normalized) {
      sum = 0;
      for (int64_t expert = 0; expert < spec.experts; ++expert)
        sum += std::exp(of_row[expert] - top);
    }
    for (Choice& choice : best) choice.weight /= sum;
  });
}

// Gives rows their places, and each expert that any chose a group.
void CpuExperts::put_in_order(int64_t rows, const ExpertSpec& spec) {
  places_.assign(spec.experts, 0);
  for (const Choice& choice : choices_) ++places_[choice.expert];
  groups_.clear();
  int64_t next = 0;
  for (int64_t expert = 0; expert < spec.experts; ++expert) {
    const int64_t count = places_[expert];
    if (count > 0) groups_.push_back({.matrix = expert, .count = count, .to = next});
    places_[expert] = next;
    next += count;
  }
  picked_.resize(choices_.size());
  for (int64_t i = 0; i < rows * spec.chosen; ++i) {
    choices_[i].place = places_[choices_[i].expert]++;
    picked_[choices_[i].place] = i / spec.chosen;
  }
}

// The weighted sums of each row's products, in the order of its choices.
void CpuExperts::mix(const float* products, Tensor out, Output output) {
  const int64_t chosen = std::ssize(choices_) / out.rows;
  for_rows(pool_, out.rows, chosen * out.columns, [&](int64_t row) {
    float* to = out.data + row * out.columns;
    if (output == Output::replaced) std::fill_n(to, out.columns, 0.0f);
    for (int64_t i = 0; i < chosen; ++i) {
      const Choice& choice = choices_[row * chosen + i];
      cpu::add_scaled(to, products + choice.place * out.columns, choice.weight, out.columns);
    }
  });
}

}  // namespace dinfer
