#include "checkpoint/packed_parts.h"

#include <algorithm>
#include <numeric>

#include <fmt/ranges.h>

#include "base/error.h"
#include "checkpoint/printable.h"

namespace dinfer {

namespace {

constexpr int64_t kMostSide = 1 << 24;
constexpr int64_t kLeastGroup = 16, kMostGroup = 128;  // of the quantised family

// The largest group of the family that lies within blocks of columns; 0: none.
int family_group(int64_t block_columns, int64_t columns) {
  const int64_t common = std::gcd(block_columns, columns);
  const int64_t power = std::min(common & -common, kMostGroup);
  return power < kLeastGroup ? 0 : static_cast<int>(power);
}

}  // namespace

PackedParts::PackedParts(const FileCheckpoint& checkpoint, std::string module,
                         const TensorInfo& codes)
    : checkpoint_(checkpoint), module_(std::move(module)), codes_(codes) {}

const TensorInfo* PackedParts::find(const std::string& part) const {
  return checkpoint_.find_part(module_ + "." + part);
}

const TensorInfo& PackedParts::get(const std::string& part) const {
  const TensorInfo* tensor = find(part);
  if (!tensor) {
    refuse(codes_,
           fmt::format("needs {}, which the model's files lack", printable(module_ + "." + part)));
  }
  return *tensor;
}

void PackedParts::expect_type(const TensorInfo& tensor,
                              std::initializer_list<StorageType> types) const {
  if (std::ranges::find(types, tensor.type) != types.end()) return;
  std::vector<std::string_view> names;
  for (const StorageType type : types) names.push_back(traits_of(type).name);
  refuse(tensor, fmt::format("is stored as {}, but must be {}", traits_of(tensor.type).name,
                             fmt::join(names, " or ")));
}

void PackedParts::expect_scales_type(const TensorInfo& tensor) const {
  expect_type(tensor, {StorageType::f32, StorageType::f16, StorageType::bf16});
}

void PackedParts::expect_matrix(const TensorInfo& tensor) const {
  const bool fits = tensor.shape.size() == 2 && std::ranges::all_of(tensor.shape, [](int64_t size) {
                      return 1 <= size && size <= kMostSide;
                    });
  if (!fits) {
    refuse(tensor, fmt::format("has shape [{}]; it must have two dimensions of 1 to {}",
                               fmt::join(tensor.shape, ", "), kMostSide));
  }
}

void PackedParts::expect_shape(const TensorInfo& tensor, const std::vector<int64_t>& shape,
                               const std::string& rule) const {
  if (tensor.shape == shape) return;
  refuse(tensor, fmt::format("has shape [{}], but must have [{}]: {}",
                             fmt::join(tensor.shape, ", "), fmt::join(shape, ", "), rule));
}

void PackedParts::refuse(const TensorInfo& tensor, const std::string& why) const {
  fail(ExitCode::model_files, "{}: tensor {} {}", checkpoint_.file_of(tensor),
       printable(tensor.name), why);
}

bool PackedParts::is_single(const TensorInfo& tensor) {
  return std::ranges::all_of(tensor.shape, [](int64_t size) { return size == 1; });
}

int64_t PackedParts::block_columns(const QuantizationConfig& config, const TensorInfo& scales,
                                   int64_t columns, int64_t blocks) const {
  if (blocks == 1) return columns;
  for (const int64_t group : config.groups) {
    if ((columns + group - 1) / group == blocks) return group;
  }
  if (columns % blocks != 0) {
    refuse(scales, fmt::format("has {} scales for {} inputs, which are no groups of one size, nor "
                               "what group_size of {} asks for",
                               blocks, columns, config.where));
  }
  return columns / blocks;
}

TensorInfo PackedParts::matrix(PackedWeight packed, int64_t rows, int64_t columns) const {
  uint64_t bytes = packed.codes.bytes + packed.scales.bytes;
  if (packed.zeros) bytes += packed.zeros->bytes;
  if (packed.order) bytes += packed.order->bytes;
  if (packed.layout != CodeLayout::fp8 && !packed.by_activation) {
    packed.group = family_group(packed.block_columns, columns);
  }
  const uint32_t file = packed.codes.file;
  const uint64_t offset = packed.codes.offset;
  return {module_ + ".weight",
          StorageType::packed,
          {rows, columns},
          file,
          offset,
          bytes,
          std::make_shared<const PackedWeight>(std::move(packed))};
}

void join_packed_matrices(FileCheckpoint& checkpoint, const QuantizationConfig& config) {
  using Method = QuantizationConfig::Method;
  if (config.method == Method::none) return;
  const auto join = [&](const std::string& name, std::string_view suffix, auto make) {
    if (!name.ends_with(suffix)) return;
    const std::string module = name.substr(0, name.size() - suffix.size());
    try {
      const TensorInfo codes = *checkpoint.find_part(name);
      checkpoint.add(make(PackedParts(checkpoint, module, codes), config));
    } catch (const Error& error) {
      checkpoint.add_broken(module + ".weight", error.what());
    }
  };
  for (const std::string& name : checkpoint.names()) {
    if (config.method == Method::gptq) {
      join(name, ".qweight", gptq_matrix);
    } else if (config.method == Method::awq) {
      join(name, ".qweight", awq_matrix);
    } else if (checkpoint.is_part(name, StorageType::f8_e4m3)) {
      join(name, ".weight", fp8_matrix);
    } else if (config.method == Method::compressed_tensors) {
      join(name, ".weight_packed", compressed_matrix);
      if (checkpoint.is_part(name, StorageType::i8)) join(name, ".weight", compressed_matrix);
    }
  }
}

}  // namespace dinfer
