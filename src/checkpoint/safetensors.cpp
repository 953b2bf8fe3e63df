#include "checkpoint/safetensors.h"

#include <algorithm>
#include <set>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "checkpoint/printable.h"

namespace dinfer {

namespace {

constexpr uint64_t kMostHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr size_t kMostTensors = 1'000'000;
constexpr size_t kMostNameBytes = 4096;
constexpr size_t kMostDimensions = 8;

struct DataType {
  std::string_view name;
  int bits;
  std::optional<StorageType> type;
};

constexpr DataType kDataTypes[] = {
    {"F32", 32, StorageType::f32},
    {"F16", 16, StorageType::f16},
    {"BF16", 16, StorageType::bf16},
    {"F64", 64, {}},
    {"C64", 64, {}},
    {"I64", 64, StorageType::i64},
    {"U64", 64, {}},
    {"I32", 32, StorageType::i32},
    {"U32", 32, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"I8", 8, StorageType::i8},
    {"U8", 8, {}},
    {"BOOL", 8, {}},
    {"F8_E4M3", 8, StorageType::f8_e4m3},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
};

// Accepts exactly the header's grammar, event by event, so that nothing else is ever stored:
//   {"__metadata__": {string: string...}, NAME: {"dtype": string, "shape": [unsigned...],
//    "data_offsets": [unsigned, unsigned]}...}
class HeaderParser : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a boolean"); }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return refuse("a number that is no integer");
  }
  bool binary(binary_t&) override { return refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape) {
      if (value > INT64_MAX) return refuse("a size above 2^63-1");
      if (current_.shape.size() == kMostDimensions) return refuse("more than 8 dimensions");
      current_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (place_ == Place::offsets) {
      if (offsets_.size() == 2) return refuse("more than two data_offsets");
      offsets_.push_back(value);
      return true;
    }
    return refuse("a number");
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) return true;
    if (place_ != Place::dtype) return refuse("a string");
    current_.dtype = value;
    place_ = Place::tensor;
    return true;
  }

  bool start_object(size_t) override {
    switch (place_) {
      case Place::start:
        place_ = Place::names;
        return true;
      case Place::metadata_object:
        place_ = Place::metadata;
        return true;
      case Place::tensor_object:
        place_ = Place::tensor;
        return true;
      default:
        return refuse("an object");
    }
  }

  bool key(string_t& name) override {
    if (place_ == Place::metadata) {
      return metadata_keys_.insert(name).second || refuse("a key twice");
    }
    if (place_ == Place::names) return start_tensor(name);
    if (!fields_.insert(name).second) return refuse(fmt::format("{} twice", printable(name)));
    if (name == "dtype") {
      place_ = Place::dtype;
    } else if (name == "shape") {
      place_ = Place::shape_array;
    } else if (name == "data_offsets") {
      place_ = Place::offsets_array;
    } else {
      return refuse(fmt::format("a field {}", printable(name)));
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::names) {
      place_ = Place::end;
    } else if (place_ == Place::metadata) {
      place_ = Place::names;
    } else {
      if (fields_.size() != 3) return refuse("not all of dtype, shape and data_offsets");
      if (offsets_.size() != 2) return refuse("fewer than two data_offsets");
      current_.offset = offsets_[0];
      if (offsets_[1] < offsets_[0]) return refuse("data_offsets that end before they begin");
      current_.bytes = offsets_[1] - offsets_[0];
      tensors_.push_back(std::move(current_));
      place_ = Place::names;
    }
    return true;
  }

  bool start_array(size_t) override {
    switch (place_) {
      case Place::shape_array:
        place_ = Place::shape;
        return true;
      case Place::offsets_array:
        place_ = Place::offsets;
        return true;
      default:
        return refuse("an array");
    }
  }

  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ = fmt::format("header: not valid JSON at byte {} of the header", position);
    return false;
  }

  const std::string& error() const { return error_; }
  std::vector<SafetensorsTensor> take() { return std::move(tensors_); }

 private:
  enum class Place {
    start,
    names,
    metadata_object,
    metadata,
    tensor_object,
    tensor,
    dtype,
    shape_array,
    shape,
    offsets_array,
    offsets,
    end
  };

  bool start_tensor(const std::string& name) {
    current_ = {};
    offsets_.clear();
    fields_.clear();
    current_.name = name;
    if (!names_.insert(name).second) return refuse("the same name twice");
    if (name.size() > kMostNameBytes) return refuse("a name of more than 4096 bytes");
    if (names_.size() > kMostTensors) return refuse("more than a million tensors");
    place_ = name == "__metadata__" ? Place::metadata_object : Place::tensor_object;
    return true;
  }

  bool refuse(const std::string& what) {
    const bool in_tensor = place_ != Place::start && !names_.empty();
    error_ = fmt::format("{}: {} is not allowed here",
                         in_tensor ? "tensor " + printable(current_.name) : "header", what);
    return false;
  }

  Place place_ = Place::start;
  SafetensorsTensor current_;
  std::vector<uint64_t> offsets_;
  std::set<std::string> fields_;  // of the current tensor
  std::set<std::string> names_;
  std::set<std::string> metadata_keys_;
  std::vector<SafetensorsTensor> tensors_;
  std::string error_;
};

// Finds the dtype, and checks that the range has the bytes that dtype and shape need.
void check_size(const File& file, SafetensorsTensor& tensor) {
  const std::string where =
      fmt::format("{}: tensor {}", file.path().string(), printable(tensor.name));
  const auto* type = std::ranges::find(kDataTypes, tensor.dtype, &DataType::name);
  if (type == std::end(kDataTypes)) {
    fail(ExitCode::model_files, "{}: unknown dtype {}", where, printable(tensor.dtype));
  }
  tensor.type = type->type;
  std::optional<uint64_t> bits = type->bits;
  for (const int64_t size : tensor.shape) {
    if (bits) bits = checked_mul(*bits, static_cast<uint64_t>(size));
  }
  if (!bits || *bits % 8 != 0 || *bits / 8 != tensor.bytes) {
    fail(ExitCode::model_files,
         "{}: {} of shape [{}] does not take the {} bytes of its data_offsets", where, tensor.dtype,
         fmt::join(tensor.shape, ", "), tensor.bytes);
  }
}

// Ranges must cover the data from its first to its last byte, without gap or overlap.
void check_ranges(const File& file, uint64_t data_bytes, std::vector<SafetensorsTensor>& tensors) {
  std::ranges::sort(tensors, [](const auto& a, const auto& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  uint64_t expected = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.offset != expected) {
      fail(ExitCode::model_files, "{}: tensor {} begins at byte {} of the data, {} byte {}",
           file.path().string(), printable(tensor.name), tensor.offset,
           tensor.offset < expected ? "inside another one that ends at" : "which leaves a gap from",
           expected);
    }
    if (tensor.bytes > data_bytes - expected) {
      fail(
          ExitCode::model_files,
          "{}: tensor {} ends at byte {} of the data, but the file has only {}: it is truncated or "
          "damaged",
          file.path().string(), printable(tensor.name), tensor.offset + tensor.bytes, data_bytes);
    }
    expected += tensor.bytes;
  }
  if (expected != data_bytes) {
    fail(ExitCode::model_files, "{}: {} bytes after the last tensor belong to none",
         file.path().string(), data_bytes - expected);
  }
}

}  // namespace

SafetensorsHeader read_safetensors_header(const File& file) {
  const std::string path = file.path().string();
  uint64_t length = 0;
  if (file.size() < sizeof(length)) {
    fail(ExitCode::model_files, "{}: {} bytes are too few for a safetensors file", path,
         file.size());
  }
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > kMostHeaderBytes || length > file.size() - sizeof(length)) {
    fail(
        ExitCode::model_files,
        "{}: header length {} exceeds the limit of {} or the file of {} bytes: it is truncated, or "
        "no safetensors file",
        path, length, kMostHeaderBytes, file.size());
  }
  std::string text(length, '\0');
  file.read(sizeof(length), std::as_writable_bytes(std::span(text)));
  if (!text.starts_with('{'))
    fail(ExitCode::model_files, "{}: the header must begin with {{", path);

  HeaderParser parser;
  if (!Json::sax_parse(text, &parser)) fail(ExitCode::model_files, "{}: {}", path, parser.error());
  SafetensorsHeader header{parser.take(), sizeof(length) + length};
  for (SafetensorsTensor& tensor : header.tensors) check_size(file, tensor);
  check_ranges(file, file.size() - header.data_begin, header.tensors);
  for (SafetensorsTensor& tensor : header.tensors) tensor.offset += header.data_begin;
  return header;
}

}  // namespace dinfer
