#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"

namespace dinfer {

// The key-value part of a GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md,
// versions 2 and 3). find_* give nothing when the key is absent; get_* then throw. Both throw
// Error(model_files), naming file and key, when the key holds another type. Pointers and
// references live as long as the object.
class GgufMetadata {
 public:
  // Integers of all widths become int64_t (what is above 2^63-1 becomes a double), floats double;
  // an array of booleans is one of integers 0 and 1.
  using Value = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>,
                             std::vector<double>, std::vector<std::string>>;
  using Values = std::map<std::string, Value, std::less<>>;

  GgufMetadata(std::filesystem::path path, Values values)
      : path_(std::move(path)), values_(std::move(values)) {}

  // Reads the header of one file; works for files with a vocabulary and no tensors.
  static GgufMetadata read(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  bool has(std::string_view key) const { return values_.find(key) != values_.end(); }

  bool is_array(std::string_view key) const;  // false when absent

  const std::string* find_string(std::string_view key) const;
  std::optional<int64_t> find_int(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;  // an integer will do
  std::optional<bool> find_bool(std::string_view key) const;
  const std::vector<std::string>* find_strings(std::string_view key) const;
  const std::vector<int64_t>* find_ints(std::string_view key) const;
  const std::vector<double>* find_floats(std::string_view key) const;

  const std::string& get_string(std::string_view key) const;
  int64_t get_int(std::string_view key) const;
  const std::vector<std::string>& get_strings(std::string_view key) const;
  const std::vector<int64_t>& get_ints(std::string_view key) const;
  const std::vector<double>& get_floats(std::string_view key) const;

 private:
  const Value* find(std::string_view key) const;
  template <class T>
  const T* find_as(std::string_view key, std::string_view type) const;
  [[noreturn]] void fail_missing(std::string_view key) const;
  [[noreturn]] void fail_type(std::string_view key, std::string_view wanted) const;

  std::filesystem::path path_;
  Values values_;
};

// An entry of the tensor table, checked: its bytes are inside the file, aligned, and shared with no
// other tensor.
struct GgufTensor {
  std::string name;            // as in the file, e.g. "blk.0.attn_q.weight"
  uint32_t type = 0;           // number of enum ggml_type
  std::vector<int64_t> shape;  // outermost dimension first
  uint64_t offset = 0;         // bytes from the start of the file
  uint64_t bytes = 0;          // 0: of a type whose size is not known here
};

struct GgufHeader {
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in the file's order
  uint64_t data_begin = 0;          // bytes before the tensor data
};

GgufHeader read_gguf_header(const File& file);

// Storage of a ggml_type number: its name, and how many bytes hold how many elements of a row.
// nullptr: a type that is not known here.
struct GgmlType {
  uint32_t number;
  std::string_view name;
  int block_elements;
  int block_bytes;
};

const GgmlType* find_ggml_type(uint32_t number);

}  // namespace dinfer
