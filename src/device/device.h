#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/activation.h"
#include "base/kv_type.h"
#include "device/row_pick.h"
#include "quant/matrix.h"

namespace dinfer {

// Memory of a device, freed on destruction. 64-byte aligned.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual std::byte* data() = 0;
  virtual size_t bytes() const = 0;
};

// A weight matrix in the device's own layout: rows = outputs, columns = inputs.
class Weight {
 public:
  virtual ~Weight() = default;
  virtual int64_t rows() const = 0;
  virtual int64_t columns() const = 0;
  virtual size_t bytes() const = 0;  // what one pass over the matrix reads
};

// A view of activations: [rows, columns] row-major f32 in device memory.
struct Tensor {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
};

// Consecutive tokens of one sequence in a step.
struct SequenceChunk {
  int64_t first_row = 0;  // of the step's activations
  int64_t tokens = 0;
  int64_t position = 0;             // of the first token in its sequence
  std::span<const int32_t> blocks;  // the sequence's KV blocks, in order; cover position + tokens
  int32_t rotation = 0;             // which of the model's rotation tables
};

// What a step works on beside weights and activations.
struct Step {
  std::span<const int32_t> tokens;         // [rows], chunk after chunk
  std::span<const SequenceChunk> chunks;   // cover the first rows in order
  std::span<const int64_t> gathered_rows;  // those that gather_rows picks
};

// Keys and values of one layer, paged: block b holds `block_size` tokens of each KV head at
// [b, kv_head, token, head_dim], once in `keys`, once in `values`, in `type`.
struct KvLayer {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  KvType type = KvType::f32;
  int block_size = 16;
  int64_t kv_heads = 0;  // of this rank
  int64_t head_dim = 0;
};

// Rotation angles, precomputed: cosine and sine [positions, rotary_dim / 2], f32, with the
// attention factor of the scaling multiplied in. Pairs are (i, i + rotary_dim / 2).
struct RopeTable {
  const float* cosine = nullptr;
  const float* sine = nullptr;
  int64_t positions = 0;
  int64_t rotary_dim = 0;
};

struct AttentionSpec {
  int64_t heads = 0;  // query heads of this rank; KV head of query head h is h / (heads / kv_heads)
  float scale = 1.0f;
  int64_t window = 0;             // 0: all earlier positions
  const float* q_norm = nullptr;  // [head_dim] RMSNorm weights, or none
  const float* k_norm = nullptr;
  float norm_epsilon = 1e-5f;
};

// How the experts of a layer work together.
struct ExpertSpec {
  int64_t experts = 0;
  int64_t chosen = 0;      // for each row
  bool normalized = true;  // the weights of the chosen are made to add up to 1
  Activation activation = Activation::silu;
};

enum class DeviceKind : uint8_t { cpu, cuda };

// What becomes of the values that a product's output holds already.
enum class Output : uint8_t { replaced, added_to };

// One rank's device: memory, and the kernels of the forward pass on one compute stream. Kernels may
// return before they are done; synchronize() waits. Operations are as coarse as the best
// implementation fuses them; each gives its meaning as plain arithmetic.
class Device {
 public:
  virtual ~Device() = default;

  virtual DeviceKind kind() const = 0;
  virtual std::string name() const = 0;    // "cpu" or "cuda:1"
  virtual size_t free_memory() const = 0;  // bytes
  virtual KvType kv_type() const = 0;      // of a KV cache, where no other type is asked for

  // Of memory that is larger than the caches, in GB/s: the best of some passes. The ceiling that
  // `bench` holds decoding against.
  virtual double measure_read_bandwidth() = 0;

  virtual std::unique_ptr<Buffer> allocate(size_t bytes) = 0;
  virtual std::unique_ptr<Weight> upload(HostMatrix matrix) = 0;
  // `count` matrices of one shape, below each other in `matrix`: rows() of the weight is that of
  // all. A weight made so is for `experts` alone.
  virtual std::unique_ptr<Weight> upload_stack(HostMatrix matrix, int64_t count) = 0;
  // Another matrix, or stack, of the same values.
  virtual std::unique_ptr<Weight> clone(const Weight& weight) = 0;
  virtual void copy_in(std::byte* device, std::span<const std::byte> host) = 0;
  virtual void copy_out(std::span<std::byte> host, const std::byte* device) = 0;
  virtual void synchronize() = 0;

  // Does the operations of one step: calls `body`, in which embed, attend and gather_rows refer to
  // `step`. With `recurring`, a device may record what body does and later do that in place of
  // calling it: body then does the same in all recurring steps of as many rows and gathered rows.
  virtual void run(const Step& step, bool recurring, const std::function<void()>& body) = 0;

  // How many rows a recurring step of `rows` rows had better have, some of them without a sequence,
  // so that few numbers of rows recur.
  virtual int64_t recurring_rows(int64_t rows) const = 0;

  // out[i] = scale * row (step.tokens[i] - first_row) of `table`; zero when that row is not in it.
  virtual void embed(const Weight& table, int64_t first_row, float scale, Tensor out) = 0;

  // out = in * weight^T + bias, or out += that. `bias` [weight.rows()] or none.
  virtual void linear(Tensor in, const Weight& weight, const float* bias, Tensor out,
                      Output output = Output::replaced) = 0;

  // The same on rms_norm(in) = in / sqrt(mean(in^2) + epsilon) * norm, a row at a time.
  virtual void norm_linear(Tensor in, const float* norm, float epsilon, const Weight& weight,
                           const float* bias, Tensor out) = 0;

  // The same on activation(gate) * up, where in = [gate | up], each weight.columns() wide.
  virtual void gated_linear(Tensor in, Activation activation, const Weight& weight,
                            const float* bias, Tensor out, Output output = Output::replaced) = 0;

  // out += rms_norm(in) * norm, a row at a time, as norm_linear norms.
  virtual void add_normed(Tensor in, const float* norm, float epsilon, Tensor out) = 0;

  // A mixture of experts, a row at a time. With x = rms_norm(in) as in norm_linear and
  // p = softmax(router x), the `chosen` experts e of the largest p (of equals, the lower number)
  // give
  //   out = or += sum over e of w_e * down_e (activation(gate_e x) * (up_e x)),
  // where w_e = p_e, divided by their sum over the chosen where `normalized`. Scores of the router
  // are f32 products of f32 inputs: rounding must not flip a choice.
  // router [experts, hidden]; gate_up a stack of [2 ffn, hidden] = [gate; up]; down a stack of
  // [hidden, ffn]. `out` may be `in`.
  virtual void experts(Tensor in, const float* norm, float epsilon, const Weight& router,
                       const Weight& gate_up, const Weight& down, const ExpertSpec& spec,
                       Tensor out, Output output) = 0;

  // qkv [rows, (heads + 2 kv_heads) * head_dim] = [q | k | v]. Norms q and k where asked, rotates
  // them by the table that each chunk names, appends k and v to the cache, and writes
  // softmax(scale * q K^T) V, causal and within the window, to out [rows, heads * head_dim], where
  // K and V are what the cache holds, in kv_type() or f8. qkv is left undefined.
  virtual void attend(Tensor qkv, const AttentionSpec& spec, std::span<const RopeTable> rope,
                      const KvLayer& cache, Tensor out) = 0;

  // picks[i] = what pick_from(row i of `values`, first_id, draws[i]) gives; waits for it.
  virtual void pick(Tensor values, int32_t first_id, std::span<const RowDraw> draws,
                    std::span<RowPick> picks) = 0;

  // out[i] = in[step.gathered_rows[i]].
  virtual void gather_rows(Tensor in, Tensor out) = 0;
};

}  // namespace dinfer
