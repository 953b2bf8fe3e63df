#include "device/gpu_device.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "device/gpu_check.h"
#include "device/gpu_copies.h"
#include "device/gpu_memory.h"
#include "device/gpu_pick.h"
#include "device/gpu_recordings.h"
#include "device/gpu_step.h"
#include "device/gpu_stream.h"
#include "kernels/cuda/add_normed.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/unpack.h"

namespace dinfer {
namespace {

using cuda::Rows;

// What is kept back of the memory that is free: kernels' workspace and the driver's own needs.
constexpr size_t kReserve = size_t{512} << 20;

// Read for the bandwidth: many times the caches, and no more than half of what is free.
constexpr size_t kCeilingBytes = size_t{4} << 30;
constexpr size_t kAlignment = 16;  // of kernels' loads
constexpr int kCeilingPasses = 10;

// Larger steps are long enough to hide the launches of their kernels.
constexpr int64_t kMostRecordedRows = 512;

class GpuWeight final : public Weight {
 public:
  GpuWeight(GpuPiece memory, const cuda::PackedMatrix& matrix, int64_t rows)
      : memory_(std::move(memory)), matrix_(matrix), rows_(rows) {}
  int64_t rows() const override { return rows_; }
  int64_t columns() const override { return matrix_.columns; }
  size_t bytes() const override { return matrix_.bytes(); }
  const cuda::PackedMatrix& matrix() const { return matrix_; }

 private:
  GpuPiece memory_;
  cuda::PackedMatrix matrix_;
  int64_t rows_;  // without those that pad a stack
};

const cuda::PackedMatrix& packed(const Weight& weight) {
  return static_cast<const GpuWeight&>(weight).matrix();
}

class GpuDevice final : public Device {
 public:
  explicit GpuDevice(int ordinal)
      : stream_(ordinal),
        launches_(cuda::Stream::on(stream_.get())),
        step_(launches_),
        recordings_(stream_.get()),
        pick_(stream_, launches_) {}

  GpuStream& stream() { return stream_; }

  DeviceKind kind() const override { return DeviceKind::cuda; }
  std::string name() const override { return fmt::format("cuda:{}", stream_.ordinal()); }
  KvType kv_type() const override { return KvType::f16; }

  double measure_read_bandwidth() override {
    const GpuMemory memory(std::min(kCeilingBytes, unused_memory() / 2 / kAlignment * kAlignment));
    const GpuMemory sums(cuda::sum_words_bytes());
    cudaEvent_t begin = nullptr, end = nullptr;
    check_cuda(cudaEventCreate(&begin), "cudaEventCreate");
    check_cuda(cudaEventCreate(&end), "cudaEventCreate");
    double best = 0.0;
    for (int pass = 0; pass < kCeilingPasses; ++pass) {
      check_cuda(cudaEventRecord(begin, stream_.get()), "cudaEventRecord");
      cuda::sum_words(launches_, memory.data(), memory.bytes(), sums.data());
      check_cuda(cudaEventRecord(end, stream_.get()), "cudaEventRecord");
      stream_.wait();
      float milliseconds = 0.0f;
      check_cuda(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
      best = std::max(best, static_cast<double>(memory.bytes()) / milliseconds / 1e6);
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return best;
  }

  size_t free_memory() const override {
    const size_t free = unused_memory();
    return free > kReserve ? free - kReserve : 0;
  }

  std::unique_ptr<Buffer> allocate(size_t bytes) override {
    return std::make_unique<GpuMemory>(bytes);
  }

  std::unique_ptr<Weight> upload(HostMatrix matrix) override {
    auto weight = place(matrix, rows_of(matrix));
    const cuda::PackedMatrix& form = weight->matrix();
    limits_.columns = std::max(limits_.columns, form.columns);
    limits_.weight_rows = std::max(limits_.weight_rows, form.rows);
    limits_.grouped |= form.packing == cuda::Packing::grouped;
    return weight;
  }

  std::unique_ptr<Weight> upload_stack(HostMatrix matrix, int64_t count) override {
    const int64_t rows = rows_of(matrix);
    return place(cuda::stack_in_panels(std::move(matrix), count), rows);
  }

  std::unique_ptr<Weight> clone(const Weight& weight) override {
    cuda::PackedMatrix form = packed(weight);
    GpuPiece memory = arena_.take(form.bytes());
    check_cuda(cudaMemcpyAsync(memory.data, form.data, form.bytes(), cudaMemcpyDeviceToDevice,
                               stream_.get()),
               "cudaMemcpyAsync");
    form.data = memory.data;
    return std::make_unique<GpuWeight>(std::move(memory), form, weight.rows());
  }

  void copy_in(std::byte* device, std::span<const std::byte> host) override {
    check_cuda(
        cudaMemcpyAsync(device, host.data(), host.size(), cudaMemcpyHostToDevice, stream_.get()),
        "cudaMemcpyAsync");
    stream_.wait();
  }

  void copy_out(std::span<std::byte> host, const std::byte* device) override {
    stream_.wait();  // the copy to pageable memory would wait as well, but not look after peers
    check_cuda(
        cudaMemcpyAsync(host.data(), device, host.size(), cudaMemcpyDeviceToHost, stream_.get()),
        "cudaMemcpyAsync");
    stream_.wait();
  }

  void synchronize() override { stream_.wait(); }

  void run(const Step& step, bool recurring, const std::function<void()>& body) override {
    copies_.reset();  // the weights are there
    current_ = step;
    load_step();
    const bool decodes = std::all_of(step.chunks.begin(), step.chunks.end(),
                                     [](const SequenceChunk& chunk) { return chunk.tokens == 1; });
    if (!recurring || !decodes || std::ssize(step.tokens) > kMostRecordedRows) return body();
    recordings_.run({std::ssize(step.tokens), std::ssize(step.gathered_rows)}, body);
  }

  int64_t recurring_rows(int64_t rows) const override {
    const int64_t unit = rows <= 8 ? 1 : rows <= 64 ? 4 : rows <= 128 ? 8 : 16;
    return (rows + unit - 1) / unit * unit;
  }

  void embed(const Weight& table, int64_t first_row, float scale, Tensor out) override {
    check(out.rows == std::ssize(current_.tokens) && out.columns == table.columns(),
          "embed: shape of out");
    cuda::unpack_rows(launches_, packed(table), step_.tokens(), out.rows, first_row, scale,
                      out.data);
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
    cuda::add_normed(launches_, in.data, norm, epsilon, in.rows, in.columns, out.data);
  }

  void experts(Tensor in, const float* norm, float epsilon, const Weight& router,
               const Weight& gate_up, const Weight& down, const ExpertSpec& spec, Tensor out,
               Output output) override;

  void attend(Tensor qkv, const AttentionSpec& spec, std::span<const RopeTable> rope,
              const KvLayer& cache, Tensor out) override;

  void pick(Tensor values, int32_t first_id, std::span<const RowDraw> draws,
            std::span<RowPick> picks) override {
    pick_.run(values, first_id, draws, picks);
  }

  void gather_rows(Tensor in, Tensor out) override {
    check(out.rows == std::ssize(current_.gathered_rows) && in.columns == out.columns,
          "gather_rows: shape of out");
    cuda::gather_rows(launches_, in.data, step_.gathered_rows(), out.rows, in.columns, out.data);
  }

 private:
  static size_t unused_memory() {
    size_t free = 0, total = 0;
    check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return free;
  }

  std::unique_ptr<GpuWeight> place(const HostMatrix& matrix, int64_t rows) {
    cuda::PackedMatrix form = cuda::packed_form(matrix);
    GpuPiece memory = arena_.take(form.bytes());
    form.data = memory.data;
    const GpuMemory staging(cuda::staging_bytes(matrix));
    if (!copies_) copies_.emplace(stream_.ordinal());
    cuda::upload(launches_, matrix, form, staging.data(),
                 [this](auto... copied) { copies_->copy_rows(copied...); });
    stream_.wait();
    return std::make_unique<GpuWeight>(std::move(memory), form, rows);
  }

  void load_step() {
    const uint64_t before = step_.moves();
    step_.load(current_, heads_);
    if (step_.moves() != before) recordings_.clear();
  }

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
    matmul_for(in.rows).multiply(
        rows, packed(weight),
        {.data = out.data, .stride = out.columns, .bias = bias, .add = output == Output::added_to});
  }

  // The products' workspace grows to the largest weights and steps seen: the warm-up's.
  cuda::Matmul& matmul_for(int64_t rows) {
    cuda::Matmul::Limits wanted = limits_;
    wanted.rows = std::max<int64_t>(
        made_.rows, rows <= made_.rows ? 0 : std::bit_ceil(static_cast<uint64_t>(rows)));
    if (!matmul_ || wanted.rows > made_.rows || wanted.columns > made_.columns ||
        wanted.weight_rows > made_.weight_rows || wanted.grouped > made_.grouped) {
      stream_.wait();
      recordings_.clear();
      matmul_.reset();
      workspace_.reset();
      workspace_ = std::make_unique<GpuMemory>(cuda::Matmul::workspace_bytes(wanted));
      matmul_.emplace(launches_, wanted, workspace_->data());
      made_ = wanted;
    }
    return *matmul_;
  }

  GpuStream stream_;
  const cuda::Stream launches_;
  GpuArena arena_;
  std::optional<GpuCopies> copies_;  // from the first upload to the first step
  GpuStep step_;
  GpuRecordings recordings_;
  GpuPick pick_;
  Step current_;          // of the last run()
  AttentionHeads heads_;  // of the last attend()
  cuda::Matmul::Limits limits_, made_;
  std::unique_ptr<GpuMemory> workspace_;
  std::optional<cuda::Matmul> matmul_;
  std::unique_ptr<GpuMemory> experts_workspace_;
};

void GpuDevice::experts(Tensor in, const float* norm, float epsilon, const Weight& router,
                        const Weight& gate_up, const Weight& down, const ExpertSpec& spec,
                        Tensor out, Output output) {
  if (spec.experts > cuda::kMostExperts) {
    fail(ExitCode::config, "{} experts: on GPUs up to {} work; run with --cpu", spec.experts,
         cuda::kMostExperts);
  }
  check(spec.chosen >= 1 && spec.chosen <= spec.experts, "experts: how many are chosen");
  check(router.rows() == spec.experts && router.columns() == in.columns &&
            gate_up.rows() == spec.experts * 2 * down.columns() &&
            gate_up.columns() == in.columns && down.rows() == spec.experts * out.columns &&
            in.rows == out.rows,
        "experts: shapes");
  const cuda::ExpertMixture mixture{.in = in.data,
                                    .rows = in.rows,
                                    .hidden = in.columns,
                                    .norm = norm,
                                    .epsilon = epsilon,
                                    .router = packed(router),
                                    .gate_up = packed(gate_up),
                                    .down = packed(down),
                                    .experts = spec.experts,
                                    .chosen = spec.chosen,
                                    .normalized = spec.normalized,
                                    .activation = spec.activation,
                                    .out = out.data,
                                    .out_columns = out.columns,
                                    .add = output == Output::added_to};
  // Grows to the largest step seen, like the products' workspace.
  const size_t bytes = cuda::experts_workspace_bytes(mixture);
  if (!experts_workspace_ || experts_workspace_->bytes() < bytes) {
    stream_.wait();
    recordings_.clear();
    experts_workspace_.reset();
    experts_workspace_ = std::make_unique<GpuMemory>(bytes);
  }
  cuda::mix_experts(launches_, mixture, experts_workspace_->data());
}

void GpuDevice::attend(Tensor qkv, const AttentionSpec& spec, std::span<const RopeTable> rope,
                       const KvLayer& cache, Tensor out) {
  check(cache.type != KvType::f32, "attend: type of the KV cache");
  check(cache.kv_heads > 0 && spec.heads % cache.kv_heads == 0, "attend: KV heads divide heads");
  const AttentionHeads heads{static_cast<int>(spec.heads), static_cast<int>(cache.kv_heads),
                             static_cast<int>(cache.head_dim)};
  const int unit = cuda::head_dim_unit(cache.type);
  if (heads.head_dim > cuda::kMostHeadDim || heads.head_dim % unit != 0 ||
      heads.group() > cuda::kMostGroup) {
    fail(ExitCode::config,
         "heads of {} values, {} to a KV head: with a KV cache of {} on GPUs up to {} values, a "
         "multiple of {}, and up to {} heads work; run with --cpu",
         heads.head_dim, heads.group(), name_of(cache.type), cuda::kMostHeadDim, unit,
         cuda::kMostGroup);
  }
  const int64_t rows = std::ssize(current_.tokens);
  check(qkv.columns == (spec.heads + 2 * cache.kv_heads) * cache.head_dim &&
            out.columns == spec.heads * cache.head_dim && qkv.rows == rows && out.rows == rows,
        "attend: shapes");
  if (heads != heads_) {
    heads_ = heads;
    load_step();
  }
  cuda::Attention attention{.qkv = qkv.data,
                            .out = out.data,
                            .keys = cache.keys,
                            .values = cache.values,
                            .type = cache.type,
                            .heads = heads.heads,
                            .kv_heads = heads.kv_heads,
                            .head_dim = heads.head_dim,
                            .block_size = cache.block_size,
                            .window = static_cast<int>(spec.window),
                            .scale = spec.scale,
                            .q_norm = spec.q_norm,
                            .k_norm = spec.k_norm,
                            .epsilon = spec.norm_epsilon,
                            .half = static_cast<int>(rope[0].rotary_dim / 2)};
  check(rope.size() <= std::size(attention.rotations), "attend: rotation tables");
  for (size_t i = 0; i < rope.size(); ++i) attention.rotations[i] = {rope[i].cosine, rope[i].sine};
  cuda::attend(launches_, step_.attention(), attention);
}

}  // namespace

int visible_gpus() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaErrorNoDevice) return 0;
  int driver = 0;
  if (result == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess &&
      driver == 0) {
    return 0;
  }
  check_cuda(result, "cudaGetDeviceCount");
  return count;
}

std::unique_ptr<Device> make_gpu_device(int ordinal) {
  return std::make_unique<GpuDevice>(ordinal);
}

GpuStream& stream_of(Device& device) { return static_cast<GpuDevice&>(device).stream(); }

}  // namespace dinfer
