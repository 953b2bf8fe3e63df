#include "device/cpu_device.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "device/cpu_attention.h"
#include "device/cpu_experts.h"
#include "device/cpu_linear.h"
#include "device/cpu_parts.h"
#include "device/cpu_weight.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/vector_ops.h"

namespace dinfer {
namespace {

using cpu::part_of;
using cpu::Range;
using cpu::Rows;

// Read for the bandwidth: so much, and so many times what the host's caches hold, that hardly
// anything comes from them; but not more than a part of what is free.
constexpr size_t kCeilingBytes = size_t{512} << 20, kMostCeilingBytes = size_t{2} << 30;
constexpr size_t kCeilingCaches = 4;
constexpr size_t kCeilingShare = 8;
constexpr int64_t kPageBytes = 4096;
constexpr int kCeilingPasses = 10;

int64_t ceiling_pages() {
  const size_t wanted = std::min(
      {kCeilingCaches * cpu::cache_bytes(), cpu::free_memory() / kCeilingShare, kMostCeilingBytes});
  return static_cast<int64_t>(std::max(kCeilingBytes, wanted)) / kPageBytes;
}

class CpuBuffer final : public Buffer {
 public:
  explicit CpuBuffer(size_t bytes) : pages_(bytes) {}
  std::byte* data() override { return pages_.data(); }
  size_t bytes() const override { return pages_.bytes(); }

 private:
  cpu::Pages pages_;
};

const CpuWeight& cpu_weight(const Weight& weight) { return static_cast<const CpuWeight&>(weight); }

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(const CpuOptions& options)
      : exact_(options.math == CpuMath::f32),
        tiles_(!exact_ && options.tiles && cpu::multiplies_tiles()),
        pool_(options.threads, options.cores),
        linear_(pool_, !exact_, tiles_),
        experts_(pool_, linear_),
        attention_(pool_, tiles_) {}

  DeviceKind kind() const override { return DeviceKind::cpu; }
  std::string name() const override { return "cpu"; }
  size_t free_memory() const override { return cpu::free_memory(); }
  KvType kv_type() const override { return exact_ ? KvType::f32 : KvType::f16; }

  double measure_read_bandwidth() override {
    using Clock = std::chrono::steady_clock;
    const int64_t pages = ceiling_pages();
    const cpu::Pages memory(static_cast<size_t>(pages * kPageBytes));
    const auto part = [&](int rank) {
      const Range mine = part_of(pages, rank, pool_.size());
      return std::span(reinterpret_cast<uint64_t*>(memory.data() + mine.begin * kPageBytes),
                       (mine.end - mine.begin) * (kPageBytes / sizeof(uint64_t)));
    };
    pool_.run([&](int rank) {
      uint64_t value = rank;
      for (uint64_t& word : part(rank)) word = value++;
    });
    std::vector<uint64_t> sums(pool_.size());  // kept, so that the reads are
    double best = 0.0;
    for (int pass = 0; pass < kCeilingPasses; ++pass) {
      const auto start = Clock::now();
      pool_.run(
          [&](int rank) { sums[rank] += cpu::sum_words(part(rank).data(), part(rank).size()); });
      const std::chrono::duration<double> seconds = Clock::now() - start;
      best = std::max(best, static_cast<double>(memory.bytes()) / seconds.count() / 1e9);
    }
    return best;
  }

  std::unique_ptr<Buffer> allocate(size_t bytes) override {
    return std::make_unique<CpuBuffer>(bytes);
  }

  std::unique_ptr<Weight> upload(HostMatrix matrix) override {
    return upload_stack(std::move(matrix), 1);
  }

  std::unique_ptr<Weight> upload_stack(HostMatrix matrix, int64_t count) override {
    return pack_weight(matrix, count, pool_, arena_);
  }

  std::unique_ptr<Weight> clone(const Weight& weight) override {
    return clone_weight(cpu_weight(weight), pool_, arena_);
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
    check(out.rows == std::ssize(tokens) && out.columns == table.columns(), "embed: shape of out");
    const cpu::PackedMatrix matrix = cpu_weight(table).matrix();
    for_parts(pool_, out.rows, out.columns, [&](Range rows) {
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        const int64_t row = tokens[i] - first_row;
        float* to = out.data + i * out.columns;
        if (row >= 0 && row < matrix.rows) {
          cpu::unpack_row(matrix, row, scale, to);
        } else {
          std::fill_n(to, out.columns, 0.0f);
        }
      }
    });
  }

  void linear(Tensor in, const Weight& weight, const float* bias, Tensor out,
              Output output) override {
    multiply({.kind = Rows::Kind::plain}, in, weight, bias, out, output);
  }

  void norm_linear(Tensor in, const float* norm, float epsilon, const Weight& weight,
                   const float* bias, Tensor out) override {
    multiply({.kind = Rows::Kind::normed, .norm = norm, .epsilon = epsilon}, in, weight, bias, out,
             Output::replaced);
  }

  void gated_linear(Tensor in, Activation activation, const Weight& weight, const float* bias,
                    Tensor out, Output output) override {
    multiply({.kind = Rows::Kind::gated, .activation = activation}, in, weight, bias, out, output);
  }

  void add_normed(Tensor in, const float* norm, float epsilon, Tensor out) override {
    check(in.rows == out.rows && in.columns == out.columns, "add_normed: shapes");
    for_parts(pool_, in.rows, in.columns, [&](Range rows) {
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        cpu::add_normed_row(in.data + i * in.columns, norm, epsilon, in.columns,
                            out.data + i * out.columns);
      }
    });
  }

  void experts(Tensor in, const float* norm, float epsilon, const Weight& router,
               const Weight& gate_up, const Weight& down, const ExpertSpec& spec, Tensor out,
               Output output) override {
    const int64_t ffn = down.columns();
    check(spec.chosen >= 1 && spec.chosen <= spec.experts, "experts: how many are chosen");
    check(cpu_weight(gate_up).count() == spec.experts && cpu_weight(down).count() == spec.experts,
          "experts: matrices of the stacks");
    check(router.rows() == spec.experts && router.columns() == in.columns &&
              gate_up.rows() == spec.experts * 2 * ffn && gate_up.columns() == in.columns &&
              down.rows() == spec.experts * out.columns && in.rows == out.rows,
          "experts: shapes");
    experts_.run(in, norm, epsilon, cpu_weight(router), cpu_weight(gate_up), cpu_weight(down), spec,
                 out, output);
  }

  void attend(Tensor qkv, const AttentionSpec& spec, std::span<const RopeTable> rope,
              const KvLayer& cache, Tensor out) override {
    const int64_t rows = std::ssize(step_.tokens);
    check(cache.kv_heads > 0 && spec.heads % cache.kv_heads == 0, "attend: KV heads divide heads");
    check(qkv.columns == (spec.heads + 2 * cache.kv_heads) * cache.head_dim &&
              out.columns == spec.heads * cache.head_dim && qkv.rows == rows && out.rows == rows,
          "attend: shapes");
    for (const SequenceChunk& chunk : step_.chunks) {
      const int64_t end = chunk.position + chunk.tokens;
      const RopeTable& table = rope[chunk.rotation];
      check(end <= table.positions || table.rotary_dim == 0, "attend: positions of the rope table");
      check(end <= std::ssize(chunk.blocks) * cache.block_size, "attend: blocks of the sequence");
    }
    attention_.run(qkv, step_.chunks, spec, rope, cache, out);
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
    check(out.rows == std::ssize(rows) && in.columns == out.columns, "gather_rows: shape of out");
    for (int64_t i = 0; i < out.rows; ++i) {
      check(rows[i] >= 0 && rows[i] < in.rows, "gather_rows: row");
      std::copy_n(in.data + rows[i] * in.columns, in.columns, out.data + i * out.columns);
    }
  }

 private:
  // `rows` says what is done to them; the rest of it comes from `in`.
  void multiply(Rows rows, Tensor in, const Weight& weight, const float* bias, Tensor out,
                Output output) {
    rows.data = in.data;
    rows.count = in.rows;
    rows.stride = in.columns;
    rows.columns = weight.columns();
    check(in.columns == weight.columns() * (rows.kind == Rows::Kind::gated ? 2 : 1) &&
              out.columns == weight.rows() && in.rows == out.rows,
          "linear: shapes");
    float* to = out.data;
    if (output == Output::added_to) to = products_.get<float>(out.rows * out.columns);
    linear_.run(rows, cpu_weight(weight), {.data = to, .stride = out.columns, .bias = bias});
    if (output == Output::added_to) add(out, to);
  }

  void add(Tensor into, const float* x) {
    for_parts(pool_, into.rows, into.columns, [&](Range rows) {
      cpu::add_to(into.data + rows.begin * into.columns, x + rows.begin * into.columns,
                  (rows.end - rows.begin) * into.columns);
    });
  }

  const bool exact_;
  const bool tiles_;  // AMX is used
  cpu::ThreadPool pool_;
  cpu::Arena arena_;
  CpuLinear linear_;
  CpuExperts experts_;
  cpu::Scratch products_;  // on their way to an output that they are added to
  CpuAttention attention_;
  Step step_;  // of the last run()
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(const CpuOptions& options) {
  return std::make_unique<CpuDevice>(options);
}

std::string cpu_kernel_target() {
  return cpu::multiplies_tiles() ? fmt::format("{} with AMX", cpu::matmul_target())
                                 : cpu::matmul_target();
}

}  // namespace dinfer
