#include "kernels/cuda/experts.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cuda/expert_lists.h"
#include "kernels/cuda/expert_products.h"

namespace dinfer::cuda {
namespace {

constexpr size_t kAlignment = 256;

Packing input_type(const PackedMatrix& m) {
  return m.packing == Packing::grouped ? Packing::f16 : m.packing;
}

size_t bytes_of_number(Packing type) { return type == Packing::f32 ? 4 : 2; }

int tile_rows_for(const ExpertMixture& m) {
  if (m.gate_up.packing == Packing::f32) return kLargerExpertTile;
  const int64_t slots = m.rows * m.chosen;
  if (slots <= kSlotsForTile * m.experts) return kExpertTile;
  return slots <= kSlotsForLargerTile * m.experts ? kLargerExpertTile : kLargestExpertTile;
}

// Where things are in the workspace.
struct Parts {
  size_t inputs, inner, slot_values, scores, experts, weights, slots, tiles, tile_count, bytes = 0;

  explicit Parts(const ExpertMixture& m) {
    const int64_t all = m.rows * m.chosen;
    inputs = take(m.rows * m.gate_up.padded_columns(), bytes_of_number(input_type(m.gate_up)));
    inner = take(all * m.down.padded_columns(), bytes_of_number(input_type(m.down)));
    slot_values = take(all * m.out_columns, sizeof(float));
    scores = take(m.rows * m.experts, sizeof(float));
    experts = take(all, sizeof(int32_t));
    weights = take(all, sizeof(float));
    slots = take(all, sizeof(int32_t));
    tiles = take(most_expert_tiles(all, m.experts, kExpertTile), sizeof(ExpertTile));
    tile_count = take(1, sizeof(int32_t));
  }

 private:
  size_t take(int64_t count, size_t each) {
    const size_t begin = bytes;
    bytes += (static_cast<size_t>(count) * each + kAlignment - 1) / kAlignment * kAlignment;
    return begin;
  }
};

ExpertProduct product_of(const ExpertMixture& m, const PackedMatrix& stack, int64_t rows) {
  ExpertProduct product{.packing = stack.packing,
                        .half_scales = stack.half_scales,
                        .bits = stack.bits,
                        .half_rows = static_cast<int>(rows / 2),
                        .half_panels = static_cast<int>((rows / 2 + kPanel - 1) / kPanel),
                        .chosen = static_cast<int>(m.chosen)};
  if (stack.packing == Packing::grouped) {
    product.weight = BatchCodes::of(stack);
  } else {
    product.weight.codes = stack.data;
    product.weight.blocks = static_cast<int>(stack.padded_columns() / kColumnBlock);
  }
  const int64_t half = stack.packing == Packing::grouped ? product.half_panels * kPanel : rows / 2;
  check(rows % 2 == 0 && stack.rows == 2 * half * m.experts, "experts: rows of a stack");
  return product;
}

}  // namespace

size_t experts_workspace_bytes(const ExpertMixture& mixture) { return Parts(mixture).bytes; }

void mix_experts(const Stream& stream, const ExpertMixture& m, std::byte* workspace) {
  if (m.rows == 0) return;
  check(m.experts <= kMostExperts && m.chosen >= 1 && m.chosen <= m.experts &&
            m.router.packing != Packing::grouped,
        "experts that the kernels take");
  const Parts parts(m);
  const auto at = [&](size_t part) { return static_cast<void*>(workspace + part); };
  const ExpertLists lists{.experts = static_cast<int32_t*>(at(parts.experts)),
                          .weights = static_cast<float*>(at(parts.weights)),
                          .slots = static_cast<int32_t*>(at(parts.slots)),
                          .tiles = static_cast<ExpertTile*>(at(parts.tiles)),
                          .tile_count = static_cast<int32_t*>(at(parts.tile_count))};
  const int tile_rows = tile_rows_for(m);
  route(stream,
        {.in = m.in,
         .rows = static_cast<int>(m.rows),
         .hidden = static_cast<int>(m.hidden),
         .norm = m.norm,
         .epsilon = m.epsilon,
         .router = m.router,
         .experts = static_cast<int>(m.experts),
         .chosen = static_cast<int>(m.chosen),
         .normalized = m.normalized,
         .tile_rows = tile_rows,
         .scores = static_cast<float*>(at(parts.scores)),
         .input_type = input_type(m.gate_up),
         .inputs = at(parts.inputs),
         .input_width = static_cast<int>(m.gate_up.padded_columns())},
        lists);
  ExpertProduct gate_up = product_of(m, m.gate_up, 2 * m.ffn());
  ExpertProduct down = product_of(m, m.down, m.out_columns);
  for (ExpertProduct* product : {&gate_up, &down}) {
    product->lists = lists;
    product->tile_rows = tile_rows;
    product->most_tiles =
        static_cast<int>(most_expert_tiles(m.rows * m.chosen, m.experts, tile_rows));
  }
  gate_up.inputs = at(parts.inputs);
  gate_up.activation = m.activation;
  gate_up.inner = at(parts.inner);
  gate_up.inner_type = input_type(m.down);
  gate_up.inner_width = static_cast<int>(m.down.padded_columns());
  down.inputs = gate_up.inner;
  down.out = static_cast<float*>(at(parts.slot_values));
  multiply_experts(stream, gate_up);
  multiply_experts(stream, down);
  sum_slots(stream, down.out, lists.weights, m.rows, down.chosen, m.out_columns, m.add, m.out);
}

void multiply_experts(const Stream& stream, const ExpertProduct& product) {
  if (product.packing == Packing::f32) return multiply_experts_f32(stream, product);
  if (product.packing != Packing::grouped) return multiply_experts_16_bits(stream, product);
  if (product.bits == 4) return multiply_experts_4_bits(stream, product);
  multiply_experts_8_bits(stream, product);
}

}  // namespace dinfer::cuda
