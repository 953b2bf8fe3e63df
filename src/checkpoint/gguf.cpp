#include "checkpoint/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/printable.h"

namespace dinfer {

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies in the file");

namespace {

// Smallest sizes of an entry, by which a count from the file is bounded before anything is
// reserved.
constexpr uint64_t kLeastKeyValueBytes = 8 + 4 + 1;
constexpr uint64_t kLeastTensorBytes = 8 + 4 + 8 + 4 + 8;
constexpr uint64_t kMostKeyBytes = 65535;  // by the specification
constexpr uint64_t kMostNameBytes = 4096;
constexpr uint64_t kMostStringBytes = uint64_t{1} << 26;
constexpr uint32_t kMostDimensions = 4;
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kMostAlignment = 65536;

constexpr GgmlType kTypes[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},      {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},
    {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},   {14, "Q6_K", 256, 210},
    {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},
    {25, "I16", 1, 2},        {26, "I32", 1, 4},        {27, "I64", 1, 8},
    {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},
    {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
};

// Types of metadata values, as numbered in the file.
enum class ValueType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

// Reads a file from its start in large pieces, never past its end.
class HeaderReader {
 public:
  explicit HeaderReader(const File& file) : file_(file) {}

  uint64_t position() const { return base_ + at_; }
  uint64_t remaining() const { return file_.size() - position(); }
  const File& file() const { return file_; }

  // What is being read, for messages.
  void enter(std::string what) { what_ = std::move(what); }

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ExitCode::model_files, "{}: {}: {}", file_.path().string(), what_,
         fmt::format(format, std::forward<Args>(args)...));
  }

  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)), sizeof(T));
    return value;
  }

  std::string string(uint64_t limit) {
    const uint64_t length = number<uint64_t>();
    if (length > remaining()) {
      refuse("a string of {} bytes at byte {}, but the file ends at {}", length, position(),
             file_.size());
    }
    if (length > limit) refuse("a string of {} bytes; at most {} are allowed", length, limit);
    return std::string(reinterpret_cast<const char*>(take(length)), length);
  }

 private:
  static constexpr uint64_t kPieceBytes = 1 << 20;

  // The next `bytes` bytes; valid until the next call.
  const std::byte* take(uint64_t bytes) {
    if (bytes > piece_.size() - at_) {
      if (bytes > remaining()) {
        refuse("{} bytes wanted at byte {}, but the file ends at {}", bytes, position(),
               file_.size());
      }
      base_ += at_;
      at_ = 0;
      piece_.resize(std::min(std::max(bytes, kPieceBytes), file_.size() - base_));
      file_.read(base_, piece_);
    }
    const std::byte* result = piece_.data() + at_;
    at_ += bytes;
    return result;
  }

  const File& file_;
  std::vector<std::byte> piece_;
  uint64_t base_ = 0;  // where piece_ begins in the file
  uint64_t at_ = 0;    // position within piece_
  std::string what_ = "header";
};

using Value = GgufMetadata::Value;

Value from_unsigned(uint64_t value) {
  if (value > INT64_MAX) return static_cast<double>(value);
  return static_cast<int64_t>(value);
}

Value read_scalar(HeaderReader& in, ValueType type) {
  switch (type) {
    case ValueType::u8:
      return int64_t{in.number<uint8_t>()};
    case ValueType::i8:
      return int64_t{in.number<int8_t>()};
    case ValueType::u16:
      return int64_t{in.number<uint16_t>()};
    case ValueType::i16:
      return int64_t{in.number<int16_t>()};
    case ValueType::u32:
      return int64_t{in.number<uint32_t>()};
    case ValueType::i32:
      return int64_t{in.number<int32_t>()};
    case ValueType::u64:
      return from_unsigned(in.number<uint64_t>());
    case ValueType::i64:
      return in.number<int64_t>();
    case ValueType::f32:
      return double{in.number<float>()};
    case ValueType::f64:
      return in.number<double>();
    case ValueType::boolean:
      return in.number<uint8_t>() != 0;
    case ValueType::string:
      return in.string(kMostStringBytes);
    case ValueType::array:
      break;
  }
  in.refuse("value type {} is not one of GGUF's", static_cast<uint32_t>(type));
}

template <class File, class To>
std::vector<To> read_numbers(HeaderReader& in, uint64_t count) {
  if (count > in.remaining() / sizeof(File)) {
    in.refuse("an array of {} values does not fit into the rest of the file", count);
  }
  std::vector<To> values(count);
  for (To& value : values) value = static_cast<To>(in.number<File>());
  return values;
}

Value read_array(HeaderReader& in) {
  const auto type = static_cast<ValueType>(in.number<uint32_t>());
  const uint64_t count = in.number<uint64_t>();
  switch (type) {
    case ValueType::boolean:
    case ValueType::u8:
      return read_numbers<uint8_t, int64_t>(in, count);
    case ValueType::i8:
      return read_numbers<int8_t, int64_t>(in, count);
    case ValueType::u16:
      return read_numbers<uint16_t, int64_t>(in, count);
    case ValueType::i16:
      return read_numbers<int16_t, int64_t>(in, count);
    case ValueType::u32:
      return read_numbers<uint32_t, int64_t>(in, count);
    case ValueType::i32:
      return read_numbers<int32_t, int64_t>(in, count);
    case ValueType::i64:
      return read_numbers<int64_t, int64_t>(in, count);
    case ValueType::u64:
      return read_numbers<uint64_t, double>(in, count);
    case ValueType::f32:
      return read_numbers<float, double>(in, count);
    case ValueType::f64:
      return read_numbers<double, double>(in, count);
    case ValueType::string:
      break;
    case ValueType::array:
      in.refuse("arrays of arrays are not supported");
    default:
      in.refuse("value type {} is not one of GGUF's", static_cast<uint32_t>(type));
  }
  if (count > in.remaining() / sizeof(uint64_t)) {
    in.refuse("an array of {} strings does not fit into the rest of the file", count);
  }
  std::vector<std::string> strings;
  strings.reserve(count);
  for (uint64_t i = 0; i < count; ++i) strings.push_back(in.string(kMostStringBytes));
  return strings;
}

GgufMetadata::Values read_values(HeaderReader& in, uint64_t count) {
  if (count > in.remaining() / kLeastKeyValueBytes) {
    in.refuse("{} metadata keys do not fit into {} bytes", count, in.file().size());
  }
  GgufMetadata::Values values;
  for (uint64_t i = 0; i < count; ++i) {
    in.enter(fmt::format("metadata key {} of {}", i + 1, count));
    std::string key = in.string(kMostKeyBytes);
    in.enter(fmt::format("metadata key {}", printable(key)));
    const auto type = static_cast<ValueType>(in.number<uint32_t>());
    Value value = type == ValueType::array ? read_array(in) : read_scalar(in, type);
    if (!values.emplace(std::move(key), std::move(value)).second) in.refuse("stands twice");
  }
  return values;
}

// Bytes of a tensor of a known type; the shape's product was not checked before.
uint64_t tensor_bytes(const HeaderReader& in, const GgmlType& type, const GgufTensor& tensor) {
  const auto columns = static_cast<uint64_t>(tensor.shape.back());
  if (columns % type.block_elements != 0) {
    in.refuse("rows of {} elements are no multiple of {}'s block of {}", columns, type.name,
              type.block_elements);
  }
  std::optional<uint64_t> bytes = checked_mul(columns / type.block_elements, type.block_bytes);
  for (size_t i = 0; bytes && i + 1 < tensor.shape.size(); ++i) {
    bytes = checked_mul(*bytes, static_cast<uint64_t>(tensor.shape[i]));
  }
  if (!bytes)
    in.refuse("the number of bytes of its shape [{}] exceeds 64 bits",
              fmt::join(tensor.shape, ", "));
  return *bytes;
}

// One entry of the table, with an offset that still counts from the start of the data.
GgufTensor read_tensor(HeaderReader& in) {
  GgufTensor tensor;
  tensor.name = in.string(kMostNameBytes);
  in.enter(fmt::format("tensor {}", printable(tensor.name)));
  const auto dimensions = in.number<uint32_t>();
  if (dimensions < 1 || dimensions > kMostDimensions) {
    in.refuse("{} dimensions; 1 to {} are allowed", dimensions, kMostDimensions);
  }
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = in.number<uint64_t>();
    if (size < 1 || size > INT64_MAX) in.refuse("dimension {} has size {}", i, size);
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
  }
  tensor.type = in.number<uint32_t>();
  tensor.offset = in.number<uint64_t>();
  if (const GgmlType* type = find_ggml_type(tensor.type)) {
    tensor.bytes = tensor_bytes(in, *type, tensor);
  }
  return tensor;
}

uint64_t data_alignment(const GgufMetadata& metadata) {
  const int64_t alignment = metadata.find_int("general.alignment").value_or(kDefaultAlignment);
  if (alignment < 8 || alignment > kMostAlignment ||
      !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    fail(ExitCode::model_files,
         "{}: general.alignment is {}; it must be a power of two from 8 to {}",
         metadata.path().string(), alignment, kMostAlignment);
  }
  return static_cast<uint64_t>(alignment);
}

// Makes offsets count from the start of the file, and checks that each range is aligned and inside.
void place_tensors(const File& file, uint64_t data_begin, uint64_t alignment,
                   std::vector<GgufTensor>& tensors) {
  for (GgufTensor& tensor : tensors) {
    const std::string where =
        fmt::format("{}: tensor {}", file.path().string(), printable(tensor.name));
    if (tensor.offset % alignment != 0) {
      fail(ExitCode::model_files, "{}: offset {} is no multiple of the alignment {}", where,
           tensor.offset, alignment);
    }
    const auto begin = checked_add(data_begin, tensor.offset);
    const auto end = begin ? checked_add(*begin, tensor.bytes) : std::nullopt;
    if (!end || *end > file.size()) {
      fail(ExitCode::model_files,
           "{}: its {} bytes at offset {} of the data (which begins at byte {}) are not inside the "
           "file of {} bytes: it is truncated or damaged",
           where, tensor.bytes, tensor.offset, data_begin, file.size());
    }
    tensor.offset = *begin;
  }
}

void check_disjoint(const File& file, const std::vector<GgufTensor>& tensors) {
  std::vector<const GgufTensor*> by_offset;
  for (const GgufTensor& tensor : tensors) by_offset.push_back(&tensor);
  std::ranges::sort(by_offset, {}, &GgufTensor::offset);
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const GgufTensor& before = *by_offset[i - 1];
    if (before.offset + before.bytes > by_offset[i]->offset) {
      fail(ExitCode::model_files, "{}: tensors {} and {} overlap at byte {}", file.path().string(),
           printable(before.name), printable(by_offset[i]->name), by_offset[i]->offset);
    }
  }
}

void check_magic_and_version(HeaderReader& in) {
  if (in.number<uint32_t>() != 0x46554747)
    in.refuse("not a GGUF file: it does not begin with GGUF");
  const auto version = in.number<uint32_t>();
  if (version == 2 || version == 3) return;
  if (version != 0 && (version & 0xffff) == 0) in.refuse("big-endian GGUF files are not supported");
  in.refuse("GGUF version {}; versions 2 and 3 are supported", version);
}

}  // namespace

const GgmlType* find_ggml_type(uint32_t number) {
  const auto* at = std::ranges::find(kTypes, number, &GgmlType::number);
  return at == std::end(kTypes) ? nullptr : at;
}

GgufHeader read_gguf_header(const File& file) {
  HeaderReader in(file);
  check_magic_and_version(in);
  const auto tensor_count = in.number<uint64_t>();
  const auto value_count = in.number<uint64_t>();
  GgufHeader header{GgufMetadata(file.path(), read_values(in, value_count)), {}, 0};
  const uint64_t alignment = data_alignment(header.metadata);

  in.enter("tensor table");
  if (tensor_count > in.remaining() / kLeastTensorBytes) {
    in.refuse("{} tensors do not fit into {} bytes", tensor_count, file.size());
  }
  header.tensors.reserve(tensor_count);
  for (uint64_t i = 0; i < tensor_count; ++i) {
    in.enter(fmt::format("tensor {} of {}", i + 1, tensor_count));
    header.tensors.push_back(read_tensor(in));
  }
  header.data_begin = (in.position() + alignment - 1) / alignment * alignment;
  place_tensors(file, header.data_begin, alignment, header.tensors);
  check_disjoint(file, header.tensors);
  return header;
}

}  // namespace dinfer
