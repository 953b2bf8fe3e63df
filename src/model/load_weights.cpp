#include <algorithm>
#include <deque>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/read_ahead.h"
#include "checkpoint/packed_weight.h"
#include "model/rope.h"
#include "model/weight_source.h"
#include "quant/plain_matrix_reader.h"

namespace dinfer {
namespace {

const TensorInfo& find_tensor(const Checkpoint& checkpoint, const std::string& name) {
  const TensorInfo* found = checkpoint.find(name);
  if (!found) fail(ExitCode::model_files, "the model has no tensor {}", name);
  return *found;
}

// The slice's share of its tensor's bytes.
uint64_t stored_bytes(const TensorInfo& tensor, const ModuleSlice& slice) {
  const auto all =
      static_cast<double>(tensor.shape.at(0)) * static_cast<double>(tensor.shape.at(1));
  const auto part =
      static_cast<double>(slice.rows.size()) * static_cast<double>(slice.columns.size());
  return static_cast<uint64_t>(static_cast<double>(tensor.bytes) * part / all);
}

// What quantisation does to one tensor. What the file has in groups keeps them.
QuantSpec tensor_quantization(const QuantChoice& asked, const std::string& module, MatrixKind kind,
                              const TensorInfo& tensor) {
  if (stored_group(tensor) > 0) return {};
  return matrix_quantization(asked, module, kind, tensor.shape.at(1));
}

// About the device memory of a slice that keeps the form of its file.
uint64_t kept_bytes(const TensorInfo& tensor, const ModuleSlice& slice) {
  if (!tensor.packed) return stored_bytes(tensor, slice);
  const auto elements = static_cast<uint64_t>(slice.rows.size() * slice.columns.size());
  const PackedWeight& packed = *tensor.packed;
  if (packed.group == 0) return elements * bytes_of(plain_type(tensor));
  // Scales fit f16 as a rule, minimums do not, and have scales at their side that take as much.
  const uint64_t groups = elements / static_cast<uint64_t>(packed.group);
  return elements * static_cast<uint64_t>(packed.bits) / 8 + groups * (packed.symmetric ? 2 : 8);
}

// Rows of heads stored for pairs (2i, 2i + 1), in the order for pairs (i, i + rotary / 2).
std::vector<int64_t> half_split_order(int64_t rows, int64_t head_dim, int64_t rotary) {
  std::vector<int64_t> order(static_cast<size_t>(rows));
  std::iota(order.begin(), order.end(), 0);
  const int64_t half = rotary / 2;
  for (int64_t head = 0; head < rows; head += head_dim) {
    for (int64_t i = 0; i < half; ++i) {
      order[static_cast<size_t>(head + i)] = head + 2 * i;
      order[static_cast<size_t>(head + half + i)] = head + 2 * i + 1;
    }
  }
  return order;
}

// The matrices that assemble_weights asks for, in its order.
class MatrixList final : public WeightSource {
 public:
  struct Entry {
    MatrixSlices slices;
    MatrixKind kind;
    size_t count;  // of matrices in a stack
  };

  std::unique_ptr<Weight> matrix(const MatrixSlices& slices, MatrixKind kind,
                                 int64_t count) override {
    entries.push_back({slices, kind, static_cast<size_t>(count)});
    return nullptr;
  }
  DeviceVector bias(const MatrixSlices&) override { return {}; }
  DeviceVector norm(const std::string&, int64_t, float) override { return {}; }

  std::vector<Entry> entries;
};

// Threads that read files and quantise while the device packs what has been read.
constexpr size_t kMostReaders = 8;
constexpr size_t kJobsAhead = 2;  // for each of them: may be done before their turn

class CheckpointSource final : public WeightSource {
 public:
  CheckpointSource(const Checkpoint& checkpoint, const ModelConfig& config, const Shard& shard,
                   const QuantChoice& quant, Device& device, const LoadProgress& progress,
                   uint64_t total)
      : checkpoint_(checkpoint),
        config_(config),
        quant_(quant),
        device_(device),
        progress_(progress),
        total_(total),
        readers_(std::clamp<size_t>(std::thread::hardware_concurrency() / 2, 1, kMostReaders)),
        readings_(jobs(shard), readers_, kJobsAhead * readers_) {}

  std::unique_ptr<Weight> matrix(const MatrixSlices& slices, MatrixKind kind,
                                 int64_t count) override {
    auto weight = kind == MatrixKind::experts ? device_.upload_stack(take_matrix(), count)
                                              : device_.upload(take_matrix());
    for (const ModuleSlice& slice : slices)
      done_ += stored_bytes(find_tensor(checkpoint_, slice.module + ".weight"), slice);
    if (progress_) progress_(done_, total_);
    return weight;
  }

  DeviceVector bias(const MatrixSlices& slices) override {
    std::vector<float> all;
    for (const ModuleSlice& slice : slices) {
      const std::vector<float> part =
          load_vector(checkpoint_, find_tensor(checkpoint_, slice.module + ".bias"),
                      slice.rows.begin, slice.rows.end);
      if (interleaved(slice)) {
        for (int64_t row : stored_order(slice)) all.push_back(part[static_cast<size_t>(row)]);
      } else {
        all.insert(all.end(), part.begin(), part.end());
      }
    }
    return {device_, all};
  }

  DeviceVector norm(const std::string& name, int64_t size, float scale) override {
    std::vector<float> values = load_vector(checkpoint_, find_tensor(checkpoint_, name));
    check(std::ssize(values) == size, "check_tensors has seen every shape");
    for (float& value : values) value = (value + config_.norm_offset) * scale;
    return {device_, values};
  }

 private:
  // A matrix of the list: read in bands, or one matrix of a stack after the other.
  struct Coming {
    std::shared_ptr<PlainMatrixReader> plain;
    size_t count;
  };

  // Those of each matrix of the list, one after the other.
  std::vector<ReadAhead<HostMatrix>::Job> jobs(const Shard& shard) {
    MatrixList list;
    assemble_weights(config_, shard, list);
    const auto memory = std::make_shared<RecycledMemory>();
    std::vector<ReadAhead<HostMatrix>::Job> jobs;
    for (MatrixList::Entry& entry : list.entries) {
      coming_.push_back({plain_reader(entry, memory), entry.count});
      const auto& plain = coming_.back().plain;
      for (int band = 0; plain && band < plain->bands(); ++band) {
        jobs.push_back([plain, band] {
          plain->read(band);
          return HostMatrix();
        });
      }
      if (plain) continue;
      const auto of_one = static_cast<std::ptrdiff_t>(entry.slices.size() / entry.count);
      for (auto at = entry.slices.begin(); at != entry.slices.end(); at += of_one) {
        jobs.push_back([this, slices = MatrixSlices(at, at + of_one), kind = entry.kind] {
          return read(slices, kind);
        });
      }
    }
    return jobs;
  }

  // None for matrices that are not plain, or become quantised, or have rows in another order.
  std::shared_ptr<PlainMatrixReader> plain_reader(
      const MatrixList::Entry& entry, const std::shared_ptr<RecycledMemory>& memory) const {
    std::vector<StoredSlice> parts;
    for (const ModuleSlice& slice : entry.slices) {
      const TensorInfo& tensor = find_tensor(checkpoint_, slice.module + ".weight");
      const bool quantised =
          stored_group(tensor) > 0 ||
          tensor_quantization(quant_, slice.module, entry.kind, tensor).bits != 0;
      // Bands of rows are small pieces of each row of such files.
      const bool transposed = tensor.packed && tensor.packed->transposed();
      if (quantised || transposed || interleaved(slice) ||
          slice.rows.size() * slice.columns.size() == 0)
        return nullptr;
      parts.push_back({&tensor, stored_slice(slice)});
      if (plain_type(tensor) != plain_type(*parts[0].tensor)) return nullptr;
    }
    return std::make_shared<PlainMatrixReader>(checkpoint_, std::move(parts), memory);
  }

  // The next of the list.
  HostMatrix take_matrix() {
    const auto [plain, count] = std::move(coming_.front());
    coming_.pop_front();
    if (!plain) {
      std::vector<HostMatrix> stack;
      for (size_t i = 0; i < count; ++i) stack.push_back(readings_.take());
      return stack_rows(std::move(stack));
    }
    for (int band = 0; band < plain->bands(); ++band) readings_.take();
    return plain->take();
  }

  // Called by several threads.
  HostMatrix read(const MatrixSlices& slices, MatrixKind kind) const {
    std::vector<HostMatrix> parts;
    for (const ModuleSlice& slice : slices) {
      const TensorInfo& tensor = find_tensor(checkpoint_, slice.module + ".weight");
      HostMatrix part = load_matrix(checkpoint_, tensor, stored_slice(slice),
                                    tensor_quantization(quant_, slice.module, kind, tensor));
      if (interleaved(slice)) part = permute_rows(std::move(part), stored_order(slice));
      parts.push_back(std::move(part));
    }
    return parts.size() == 1 ? std::move(parts[0]) : stack_rows(std::move(parts));
  }

  static Slice stored_slice(const ModuleSlice& slice) {
    return {slice.rows.begin, slice.rows.end, slice.columns.begin, slice.columns.end};
  }

  bool interleaved(const ModuleSlice& slice) const {
    return config_.interleaved_rope && slice.rope_rows;
  }

  std::vector<int64_t> stored_order(const ModuleSlice& slice) const {
    return half_split_order(slice.rows.size(), config_.head_dim, rotary_dim(config_));
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const QuantChoice& quant_;
  Device& device_;
  const LoadProgress& progress_;
  uint64_t done_ = 0;
  uint64_t total_;
  size_t readers_;
  std::deque<Coming> coming_;
  ReadAhead<HostMatrix> readings_;  // the last member: its threads read the others
};

}  // namespace

ModelWeights load_weights(const Checkpoint& checkpoint, const ModelConfig& config,
                          const Shard& shard, const QuantChoice& quant, Device& device,
                          const LoadProgress& progress) {
  CheckpointSource source(checkpoint, config, shard, quant, device, progress,
                          bytes_to_load(checkpoint, config, shard));
  return assemble_weights(config, shard, source);
}

uint64_t bytes_to_load(const Checkpoint& checkpoint, const ModelConfig& config,
                       const Shard& shard) {
  uint64_t bytes = 0;
  for_each_slice(config, shard, [&](const ModuleSlice& slice, MatrixKind) {
    bytes += stored_bytes(find_tensor(checkpoint, slice.module + ".weight"), slice);
  });
  return bytes;
}

WeightBytes planned_weight_bytes(const Checkpoint& checkpoint, const ModelConfig& config,
                                 const Shard& shard, const QuantChoice& quant) {
  WeightBytes bytes;
  for_each_slice(config, shard, [&](const ModuleSlice& slice, MatrixKind kind) {
    const TensorInfo& tensor = find_tensor(checkpoint, slice.module + ".weight");
    const QuantSpec spec = tensor_quantization(quant, slice.module, kind, tensor);
    (kind == MatrixKind::experts ? bytes.experts : bytes.always) +=
        spec.bits == 0 ? kept_bytes(tensor, slice) : quantized_bytes(slice, spec);
  });
  return bytes;
}

}  // namespace dinfer
