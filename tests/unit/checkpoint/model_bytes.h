#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

// Model files made of parts that need not fit together, for tests of the readers.

namespace dinfer::test {

inline const std::filesystem::path kModels = DINFER_SOURCE_DIR "/tests/golden/models";

// Runs `action`; the message of the Error(model_files) it throws, empty when it throws none.
template <class Action>
std::string model_error(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code() == ExitCode::model_files ? error.what() : "another exit code";
  }
  return "";
}

template <class T>
void append_number(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// A safetensors file with this header, whatever it says, and `data_bytes` bytes after it.
inline std::string safetensors(std::string_view header, size_t data_bytes) {
  std::string out;
  append_number<uint64_t>(out, header.size());
  return out + std::string(header) + std::string(data_bytes, '\0');
}

// Builds a GGUF file. Nothing is checked, and counts can be overridden.
class GgufBytes {
 public:
  uint32_t version = 3;
  uint64_t extra_tensors = 0;  // counted, but not there
  uint64_t extra_values = 0;
  size_t alignment = 32;

  GgufBytes& string(std::string_view key, std::string_view value) {
    begin(key, 8);
    append_string(values_, value);
    return *this;
  }
  GgufBytes& u32(std::string_view key, uint32_t value) { return number(key, 4, value); }
  GgufBytes& u16(std::string_view key, uint16_t value) { return number(key, 2, value); }
  GgufBytes& i32(std::string_view key, int32_t value) { return number(key, 5, value); }
  GgufBytes& f32(std::string_view key, float value) { return number(key, 6, value); }
  GgufBytes& boolean(std::string_view key, bool value) { return number<uint8_t>(key, 7, value); }
  // An array as its bytes lie in the file.
  GgufBytes& array(std::string_view key, uint32_t type, uint64_t count, std::string_view bytes) {
    begin(key, 9);
    append_number(values_, type);
    append_number(values_, count);
    values_ += bytes;
    return *this;
  }
  GgufBytes& value(std::string_view key, uint32_t type, std::string_view bytes) {
    begin(key, type);
    values_ += bytes;
    return *this;
  }

  // `sizes` innermost first, as in the file; `offset` within the data.
  GgufBytes& tensor(std::string_view name, std::vector<uint64_t> sizes, uint32_t type,
                    uint64_t offset) {
    ++tensor_count_;
    append_string(table_, name);
    append_number<uint32_t>(table_, sizes.size());
    for (const uint64_t size : sizes) append_number(table_, size);
    append_number(table_, type);
    append_number(table_, offset);
    return *this;
  }

  std::string header() const {
    std::string out = "GGUF";
    append_number(out, version);
    append_number(out, tensor_count_ + extra_tensors);
    append_number(out, value_count_ + extra_values);
    return out + values_ + table_;
  }

  std::string file(std::string_view data) const {
    std::string out = header();
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out + std::string(data);
  }
  std::string file(size_t data_bytes) const { return file(std::string(data_bytes, '\0')); }

 private:
  static void append_string(std::string& out, std::string_view text) {
    append_number<uint64_t>(out, text.size());
    out += text;
  }
  void begin(std::string_view key, uint32_t type) {
    ++value_count_;
    append_string(values_, key);
    append_number(values_, type);
  }
  template <class T>
  GgufBytes& number(std::string_view key, uint32_t type, T value) {
    begin(key, type);
    append_number(values_, value);
    return *this;
  }

  std::string values_;
  std::string table_;
  uint64_t value_count_ = 0;
  uint64_t tensor_count_ = 0;
};

}  // namespace dinfer::test
