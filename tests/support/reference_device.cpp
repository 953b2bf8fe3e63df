#include "tests/support/reference_device.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

namespace dinfer {
namespace {

class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(size_t bytes)
      : bytes_(bytes),
        data_(static_cast<std::byte*>(::operator new(std::max<size_t>(bytes, 1), kAlignment))) {
    std::memset(data_, 0, bytes);
  }
  ~HostBuffer() override { ::operator delete(data_, kAlignment); }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  std::byte* data() override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  size_t bytes_;
  std::byte* data_;
};

struct F32Weight final : Weight {
  int64_t rows() const override { return row_count; }
  int64_t columns() const override { return column_count; }
  size_t bytes() const override { return values.size() * sizeof(float); }
  const float* row(int64_t r) const { return values.data() + r * column_count; }

  int64_t row_count = 0;
  int64_t column_count = 0;
  std::vector<float> values;
};

float dense_value(const DenseMatrix& m, int64_t index) {
  const std::byte* at = m.data.data() + index * bytes_of(m.type);
  if (m.type == DType::f32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return m.type == DType::f16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

float grouped_value(const GroupedMatrix& m, int64_t r, int64_t c) {
  const int64_t g = r * m.groups() + c / m.group;
  if (m.bits == 8) {
    const uint8_t code = m.codes[r * m.columns + c];
    return m.symmetric() ? m.scales[g] * static_cast<int8_t>(code)
                         : m.scales[g] * code + m.minimums[g];
  }
  const uint8_t pair = m.codes[(r * m.columns + c) / 2];
  const int code = c % 2 == 0 ? pair & 15 : pair >> 4;
  return m.symmetric() ? m.scales[g] * (code - 8) : m.scales[g] * code + m.minimums[g];
}

float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::silu:
      return x / (1.0f + std::exp(-x));
    case Activation::gelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
    case Activation::gelu_tanh:
      return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
  }
  return 0.0f;
}

void rms_norm(const float* in, const float* norm, float epsilon, int64_t n, float* out) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += double{in[i]} * in[i];
  const auto inverse = static_cast<float>(1.0 / std::sqrt(squares / n + epsilon));
  for (int64_t i = 0; i < n; ++i) out[i] = in[i] * inverse * norm[i];
}

// Pairs (i, i + rotary_dim / 2) of one head at one position.
void rotate(const RopeTable& rope, int64_t position, float* head) {
  const int64_t half = rope.rotary_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float c = rope.cosine[position * half + i], s = rope.sine[position * half + i];
    const float a = head[i], b = head[i + half];
    head[i] = a * c - b * s;
    head[i + half] = b * c + a * s;
  }
}

class ReferenceDevice final : public Device {
 public:
  DeviceKind kind() const override { return DeviceKind::cpu; }
  std::string name() const override { return "reference"; }
  size_t free_memory() const override { return size_t{1} << 30; }
  KvType kv_type() const override { return KvType::f32; }
  double measure_read_bandwidth() override { return 0.0; }

  std::unique_ptr<Buffer> allocate(size_t bytes) override {
    return std::make_unique<HostBuffer>(bytes);
  }

  std::unique_ptr<Weight> upload(HostMatrix matrix) override {
    auto weight = std::make_unique<F32Weight>();
    weight->row_count = rows_of(matrix);
    weight->column_count = columns_of(matrix);
    weight->values.resize(weight->row_count * weight->column_count);
    float* out = weight->values.data();
    for (int64_t r = 0; r < weight->row_count; ++r) {
      for (int64_t c = 0; c < weight->column_count; ++c) {
        const auto* dense = std::get_if<DenseMatrix>(&matrix);
        *out++ = dense ? dense_value(*dense, r * weight->column_count + c)
                       : grouped_value(std::get<GroupedMatrix>(matrix), r, c);
      }
    }
    return weight;
  }

  std::unique_ptr<Weight> upload_stack(HostMatrix matrix, int64_t count) override {
    check(count > 0 && rows_of(matrix) % count == 0, "upload_stack: matrices of one shape");
    return upload(std::move(matrix));
  }

  std::unique_ptr<Weight> clone(const Weight& weight) override {
    return std::make_unique<F32Weight>(static_cast<const F32Weight&>(weight));
  }

  void copy_in(std::byte* device, std::span<const std::byte> host) override {
    std::copy(host.begin(), host.end(), device);
  }
  void copy_out(std::span<std::byte> host, const std::byte* device) override {
    std::copy_n(device, host.size(), host.begin());
  }
  void synchronize() override {}

  void run(const Step& step, bool, const std::function<void()>& body) override {
    step_ = step;
    body();
  }

  int64_t recurring_rows(int64_t rows) const override { return rows; }

  void embed(const Weight& table, int64_t first_row, float scale, Tensor out) override {
    const std::span<const int32_t> tokens = step_.tokens;
    const auto& w = static_cast<const F32Weight&>(table);
    check(out.rows == std::ssize(tokens) && out.columns == w.columns(), "embed: shape of out");
    for (int64_t i = 0; i < out.rows; ++i) {
      const int64_t r = tokens[i] - first_row;
      const bool owned = r >= 0 && r < w.rows();
      for (int64_t c = 0; c < out.columns; ++c) {
        out.data[i * out.columns + c] = owned ? scale * w.row(r)[c] : 0.0f;
      }
    }
  }

  void linear(Tensor in, const Weight& weight, const float* bias, Tensor out,
              Output output) override {
    const auto& w = static_cast<const F32Weight&>(weight);
    check(in.columns == w.columns() && out.columns == w.rows() && in.rows == out.rows,
          "linear: shapes");
    for (int64_t i = 0; i < in.rows; ++i) {
      const float* x = in.data + i * in.columns;
      for (int64_t r = 0; r < w.rows(); ++r) {
        double sum = 0;
        for (int64_t c = 0; c < in.columns; ++c) sum += double{x[c]} * w.row(r)[c];
        float& to = out.data[i * out.columns + r];
        if (output == Output::added_to) sum += to;
        to = static_cast<float>(sum + (bias ? bias[r] : 0.0f));
      }
    }
  }

  void norm_linear(Tensor in, const float* norm, float epsilon, const Weight& weight,
                   const float* bias, Tensor out) override {
    std::vector<float> normed(in.rows * in.columns);
    for (int64_t i = 0; i < in.rows; ++i) {
      rms_norm(in.data + i * in.columns, norm, epsilon, in.columns, &normed[i * in.columns]);
    }
    linear({normed.data(), in.rows, in.columns}, weight, bias, out, Output::replaced);
  }

  void gated_linear(Tensor in, Activation activation, const Weight& weight, const float* bias,
                    Tensor out, Output output) override {
    const int64_t n = weight.columns();
    check(in.columns == 2 * n, "gated_linear: in is [gate | up]");
    std::vector<float> gated(in.rows * n);
    for (int64_t i = 0; i < in.rows; ++i) {
      const float* gate = in.data + i * 2 * n;
      for (int64_t c = 0; c < n; ++c) {
        gated[i * n + c] = activate(activation, gate[c]) * gate[n + c];
      }
    }
    linear({gated.data(), in.rows, n}, weight, bias, out, output);
  }

  void add_normed(Tensor in, const float* norm, float epsilon, Tensor out) override {
    check(in.rows == out.rows && in.columns == out.columns, "add_normed: shapes");
    std::vector<float> normed(in.columns);
    for (int64_t i = 0; i < in.rows; ++i) {
      rms_norm(in.data + i * in.columns, norm, epsilon, in.columns, normed.data());
      for (int64_t c = 0; c < in.columns; ++c) out.data[i * in.columns + c] += normed[c];
    }
  }

  void experts(Tensor in, const float* norm, float epsilon, const Weight& router,
               const Weight& gate_up, const Weight& down, const ExpertSpec& spec, Tensor out,
               Output output) override {
    const auto& gates_and_ups = static_cast<const F32Weight&>(gate_up);
    const auto& downs = static_cast<const F32Weight&>(down);
    const int64_t hidden = in.columns, ffn = downs.columns();
    check(spec.chosen >= 1 && spec.chosen <= spec.experts, "experts: how many are chosen");
    check(router.rows() == spec.experts && router.columns() == hidden &&
              gates_and_ups.rows() == spec.experts * 2 * ffn && gates_and_ups.columns() == hidden &&
              downs.rows() == spec.experts * out.columns && in.rows == out.rows,
          "experts: shapes");
    std::vector<float> x(hidden), scores(spec.experts), gate(2 * ffn), up(ffn);
    for (int64_t i = 0; i < in.rows; ++i) {
      rms_norm(in.data + i * hidden, norm, epsilon, hidden, x.data());
      linear({x.data(), 1, hidden}, router, nullptr, {scores.data(), 1, spec.experts},
             Output::replaced);
      std::vector<double> sums(out.columns, 0.0);
      for (const auto& [expert, weight] : choose(scores, spec)) {
        for (int64_t r = 0; r < 2 * ffn; ++r)
          gate[r] = static_cast<float>(dot(gates_and_ups.row(expert * 2 * ffn + r), x));
        for (int64_t c = 0; c < ffn; ++c)
          up[c] = activate(spec.activation, gate[c]) * gate[ffn + c];
        for (int64_t r = 0; r < out.columns; ++r)
          sums[r] += weight * dot(downs.row(expert * out.columns + r), up);
      }
      for (int64_t r = 0; r < out.columns; ++r) {
        float& to = out.data[i * out.columns + r];
        to = static_cast<float>(sums[r] + (output == Output::added_to ? to : 0.0f));
      }
    }
  }

  void attend(Tensor qkv, const AttentionSpec& spec, std::span<const RopeTable> rope,
              const KvLayer& cache, Tensor out) override {
    check(cache.type != KvType::f16, "attend: the reference device has no f16 KV cache");
    const int64_t dim = cache.head_dim;
    check(qkv.columns == (spec.heads + 2 * cache.kv_heads) * dim, "attend: columns of qkv");
    for (const SequenceChunk& chunk : step_.chunks) {
      for (int64_t t = 0; t < chunk.tokens; ++t) {
        float* row = qkv.data + (chunk.first_row + t) * qkv.columns;
        prepare_token(row, chunk.position + t, chunk, spec, rope[chunk.rotation], cache);
      }
      for (int64_t t = 0; t < chunk.tokens; ++t) {
        for (int64_t h = 0; h < spec.heads; ++h) {
          const float* q = qkv.data + (chunk.first_row + t) * qkv.columns + h * dim;
          float* to = out.data + (chunk.first_row + t) * out.columns + h * dim;
          attend_one(q, chunk.position + t, h / (spec.heads / cache.kv_heads), chunk, spec, cache,
                     to);
        }
      }
    }
  }

  void pick(Tensor values, int32_t first_id, std::span<const RowDraw> draws,
            std::span<RowPick> picks) override {
    for (int64_t i = 0; i < values.rows; ++i) {
      const std::span row(values.data + i * values.columns, static_cast<size_t>(values.columns));
      picks[i] = pick_from(row, first_id, draws[i]);
    }
  }

  void gather_rows(Tensor in, Tensor out) override {
    const std::span<const int64_t> rows = step_.gathered_rows;
    for (size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(in.data + rows[i] * in.columns, in.columns, out.data + i * out.columns);
    }
  }

 private:
  static double dot(const float* row, const std::vector<float>& x) {
    double sum = 0;
    for (size_t c = 0; c < x.size(); ++c) sum += double{row[c]} * x[c];
    return sum;
  }

  struct Choice {
    int64_t expert;
    double weight;
  };

  // The experts of one row, those of higher scores first.
  static std::vector<Choice> choose(const std::vector<float>& scores, const ExpertSpec& spec) {
    const float top = *std::max_element(scores.begin(), scores.end());
    std::vector<Choice> all;
    double sum = 0;
    for (int64_t e = 0; e < spec.experts; ++e) {
      all.push_back({e, std::exp(double{scores[e]} - top)});
      sum += all.back().weight;
    }
    std::stable_sort(all.begin(), all.end(), [&](const Choice& a, const Choice& b) {
      return scores[a.expert] > scores[b.expert];
    });
    all.resize(spec.chosen);
    if (spec.normalized) {
      sum = 0;
      for (const Choice& choice : all) sum += choice.weight;
    }
    for (Choice& choice : all) choice.weight /= sum;
    return all;
  }

  static std::byte* cached(std::byte* base, const KvLayer& cache, const SequenceChunk& chunk,
                           int64_t kv_head, int64_t position) {
    const int64_t block = chunk.blocks[position / cache.block_size];
    const int64_t token = position % cache.block_size;
    const int64_t row = (block * cache.kv_heads + kv_head) * cache.block_size + token;
    return base + row * cache.head_dim * bytes_of(cache.type);
  }

  static void store(const float* values, const KvLayer& cache, std::byte* to) {
    if (cache.type == KvType::f8)
      std::transform(values, values + cache.head_dim, reinterpret_cast<uint8_t*>(to), f32_to_f8);
    else
      std::copy_n(values, cache.head_dim, reinterpret_cast<float*>(to));
  }

  static float load(const std::byte* from, const KvLayer& cache, int64_t i) {
    return cache.type == KvType::f8 ? f8_to_f32(static_cast<uint8_t>(from[i]))
                                    : reinterpret_cast<const float*>(from)[i];
  }

  // Norms, rotates and stores what one token adds.
  static void prepare_token(float* row, int64_t position, const SequenceChunk& chunk,
                            const AttentionSpec& spec, const RopeTable& rope,
                            const KvLayer& cache) {
    const int64_t dim = cache.head_dim;
    for (int64_t h = 0; h < spec.heads + cache.kv_heads; ++h) {
      const float* norm = h < spec.heads ? spec.q_norm : spec.k_norm;
      float* head = row + h * dim;
      if (norm) rms_norm(head, norm, spec.norm_epsilon, dim, head);
      rotate(rope, position, head);
    }
    for (int64_t h = 0; h < cache.kv_heads; ++h) {
      const float* k = row + (spec.heads + h) * dim;
      const float* v = row + (spec.heads + cache.kv_heads + h) * dim;
      store(k, cache, cached(cache.keys, cache, chunk, h, position));
      store(v, cache, cached(cache.values, cache, chunk, h, position));
    }
  }

  // One query head of one token over all positions that it sees.
  static void attend_one(const float* q, int64_t position, int64_t kv_head,
                         const SequenceChunk& chunk, const AttentionSpec& spec,
                         const KvLayer& cache, float* out) {
    const int64_t dim = cache.head_dim;
    const int64_t first = spec.window > 0 ? std::max<int64_t>(0, position - spec.window + 1) : 0;
    std::vector<double> scores;
    for (int64_t p = first; p <= position; ++p) {
      const std::byte* k = cached(cache.keys, cache, chunk, kv_head, p);
      double dot = 0;
      for (int64_t d = 0; d < dim; ++d) dot += double{q[d]} * load(k, cache, d);
      scores.push_back(dot * spec.scale);
    }
    const double top = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& s : scores) sum += s = std::exp(s - top);
    std::vector<double> mixed(dim, 0.0);
    for (int64_t p = first; p <= position; ++p) {
      const std::byte* v = cached(cache.values, cache, chunk, kv_head, p);
      for (int64_t d = 0; d < dim; ++d) mixed[d] += scores[p - first] / sum * load(v, cache, d);
    }
    std::copy(mixed.begin(), mixed.end(), out);
  }

  Step step_;
};

}  // namespace

std::unique_ptr<Device> make_reference_device() { return std::make_unique<ReferenceDevice>(); }

}  // namespace dinfer
