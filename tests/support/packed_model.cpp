#include "tests/support/packed_model.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/dtype.h"

namespace dinfer::test {

namespace {

template <class T>
std::string bytes_of_all(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// Draws what a model is made of, the same for the same seed.
class Draw {
 public:
  explicit Draw(uint32_t seed) : random_(seed) {}

  int below(int end) { return static_cast<int>(random_() % static_cast<uint32_t>(end)); }

  std::vector<int> codes(int64_t count, int end) {
    std::vector<int> out(count);
    for (int& code : out) code = below(end);
    return out;
  }

  // Of about 0.01, as `dtype` holds them.
  std::vector<float> scales(int64_t count, const std::string& dtype) {
    std::vector<float> out(count);
    for (float& scale : out) {
      scale = 0.01f * (0.5f + static_cast<float>(below(1000)) / 1000.0f);
      if (dtype == "F16") scale = f16_to_f32(f32_to_f16(scale));
      if (dtype == "BF16") scale = bf16_to_f32(f32_to_bf16(scale));
    }
    return out;
  }

  std::vector<int32_t> shuffled_groups(int64_t columns, int64_t group) {
    std::vector<int32_t> out(columns);
    for (int64_t i = 0; i < columns; ++i) out[i] = static_cast<int32_t>(i / group);
    std::ranges::shuffle(out, random_);
    return out;
  }

 private:
  std::mt19937 random_;
};

std::string number_bytes(const std::vector<float>& values, const std::string& dtype) {
  if (dtype == "F32") return bytes_of_all(values);
  std::vector<uint16_t> out;
  for (const float value : values) {
    out.push_back(dtype == "F16" ? f32_to_f16(value) : f32_to_bf16(value));
  }
  return bytes_of_all(out);
}

// codes[i, j] = at(i, j) packed along the first index, in this order of each word.
template <class At>
std::string pack_down(int64_t rows, int64_t columns, int bits, At at) {
  const int64_t per = 32 / bits;
  std::vector<uint32_t> words((rows + per - 1) / per * columns);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      words[i / per * columns + j] |= static_cast<uint32_t>(at(i, j)) << (i % per * bits);
    }
  }
  return bytes_of_all(words);
}

// The same along the second index, the codes of each eight in the order `order`.
template <class At>
std::string pack_across(int64_t rows, int64_t columns, int bits, At at,
                        const std::vector<int>& order = {0, 1, 2, 3, 4, 5, 6, 7}) {
  const int64_t per = 32 / bits;
  const int64_t width = (columns + per - 1) / per;
  std::vector<uint32_t> words(rows * width);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width * per; ++j) {
      const int64_t column = j / per * per + order[j % per];
      if (column >= columns) continue;
      words[i * width + j / per] |= static_cast<uint32_t>(at(i, column)) << (j % per * bits);
    }
  }
  return bytes_of_all(words);
}

const std::vector<int> kAwqOrder{0, 2, 4, 6, 1, 3, 5, 7};

// Codes, zeros and scales of a matrix, however they are stored.
struct Integers {
  Integers(const PackedShape& shape, int bits, Zeros kind, const std::string& scale_dtype,
           bool shuffled, uint32_t seed)
      : rows(shape.rows),
        columns(shape.columns),
        group(shape.group ? shape.group : shape.columns),
        blocks((columns + group - 1) / group) {
    Draw draw(seed);
    codes = draw.codes(rows * columns, 1 << bits);
    scales = draw.scales(rows * blocks, scale_dtype);
    zeros = std::vector<int>(rows * blocks, 1 << (bits - 1));
    if (kind == Zeros::any) zeros = draw.codes(rows * blocks, 1 << bits);
    for (int64_t i = 0; i < columns; ++i) order.push_back(static_cast<int32_t>(i / group));
    if (shuffled) order = draw.shuffled_groups(columns, group);
  }

  int code(int64_t row, int64_t column) const { return codes[row * columns + column]; }
  int zero(int64_t row, int64_t block) const { return zeros[row * blocks + block]; }

  std::vector<float> values() const {
    std::vector<float> out;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        const int64_t at = row * blocks + order[column];
        out.push_back(static_cast<float>(code(row, column) - zeros[at]) * scales[at]);
      }
    }
    return out;
  }

  // [blocks, rows]
  std::vector<float> scales_down() const {
    std::vector<float> out;
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t row = 0; row < rows; ++row) out.push_back(scales[row * blocks + block]);
    }
    return out;
  }

  int64_t rows, columns, group, blocks;
  std::vector<int> codes;  // [rows, columns]
  std::vector<int> zeros;  // [rows, blocks]
  std::vector<float> scales;
  std::vector<int32_t> order;
};

float e4m3(int code) {
  const int exponent = code >> 3 & 15, fraction = code & 7;
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(fraction) / 8, -6)
                                   : std::ldexp(1 + static_cast<float>(fraction) / 8, exponent - 7);
  return code & 0x80 ? -size : size;
}

}  // namespace

StoredTensor& PackedModel::tensor(const std::string& name) {
  return *std::ranges::find(tensors, name, &StoredTensor::name);
}

void PackedModel::remove(const std::string& name) {
  std::erase_if(tensors, [&](const StoredTensor& tensor) { return tensor.name == name; });
}

ModelFiles PackedModel::write(const TemporaryDirectory& directory) const {
  std::string header, data;
  for (const StoredTensor& tensor : tensors) {
    header +=
        fmt::format("{}\"{}\":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                    header.empty() ? "{" : ",", tensor.name, tensor.dtype,
                    fmt::join(tensor.shape, ","), data.size(), data.size() + tensor.bytes.size());
    data += tensor.bytes;
  }
  header += '}';
  const uint64_t length = header.size();
  directory.write("config.json", "{\"quantization_config\":" + quantization_config + "}");
  directory.write("model.safetensors",
                  std::string(reinterpret_cast<const char*>(&length), 8) + header + data);
  return {directory.path(), false};
}

PackedModel gptq_model(const PackedShape& shape, int bits, Zeros zeros, bool shuffled,
                       int version) {
  const Integers m(shape, bits, zeros, "F16", shuffled, 1);
  const int mask = (1 << bits) - 1;
  const int offset = version == 1 ? 1 : 0;
  PackedModel out{.rows = m.rows, .columns = m.columns, .values = m.values()};
  out.quantization_config =
      fmt::format(R"({{"quant_method":"gptq","bits":{},"group_size":{},"desc_act":{},"sym":{},)"
                  R"("checkpoint_format":"{}"}})",
                  bits, shape.group ? shape.group : -1, shuffled, zeros == Zeros::middle,
                  version == 1 ? "gptq" : "gptq_v2");
  out.tensors = {
      {"m.qweight",
       "I32",
       {m.columns * bits / 32, m.rows},
       pack_down(m.columns, m.rows, bits, [&](int64_t i, int64_t j) { return m.code(j, i); })},
      {"m.qzeros",
       "I32",
       {m.blocks, m.rows * bits / 32},
       pack_across(m.blocks, m.rows, bits,
                   [&](int64_t i, int64_t j) { return (m.zero(j, i) - offset) & mask; })},
      {"m.scales", "F16", {m.blocks, m.rows}, number_bytes(m.scales_down(), "F16")},
      {"m.g_idx", "I32", {m.columns}, bytes_of_all(m.order)}};
  return out;
}

PackedModel awq_model(const PackedShape& shape) {
  const Integers m(shape, 4, Zeros::any, "F16", false, 2);
  PackedModel out{.rows = m.rows, .columns = m.columns, .values = m.values()};
  out.quantization_config = fmt::format(
      R"({{"quant_method":"awq","bits":4,"group_size":{},"zero_point":true,"version":"gemm"}})",
      shape.group ? shape.group : -1);
  out.tensors = {
      {"m.qweight",
       "I32",
       {m.columns, m.rows / 8},
       pack_across(
           m.columns, m.rows, 4, [&](int64_t i, int64_t j) { return m.code(j, i); }, kAwqOrder)},
      {"m.qzeros",
       "I32",
       {m.blocks, m.rows / 8},
       pack_across(
           m.blocks, m.rows, 4, [&](int64_t i, int64_t j) { return m.zero(j, i); }, kAwqOrder)},
      {"m.scales", "F16", {m.blocks, m.rows}, number_bytes(m.scales_down(), "F16")}};
  return out;
}

PackedModel compressed_model(const PackedShape& shape, int bits, Zeros zeros,
                             const std::string& scale_dtype, bool zero_words, bool shuffled) {
  const Integers m(shape, bits, zeros, scale_dtype, shuffled, 3);
  const int64_t per = 32 / bits;
  PackedModel out{.rows = m.rows, .columns = m.columns, .values = m.values()};
  out.quantization_config = fmt::format(
      R"({{"quant_method":"compressed-tensors","format":"pack-quantized","ignore":["lm_head"],)"
      R"("config_groups":{{"group_0":{{"targets":["Linear"],"weights":{{"num_bits":{},)"
      R"("type":"int","symmetric":{},"strategy":"{}","group_size":{}}}}}}}}})",
      bits, zeros == Zeros::middle, shape.group ? "group" : "channel",
      shape.group ? fmt::to_string(shape.group) : "null");
  out.tensors = {
      {"m.weight_packed",
       "I32",
       {m.rows, m.columns / per},
       pack_across(m.rows, m.columns, bits, [&](int64_t i, int64_t j) { return m.code(i, j); })},
      {"m.weight_scale", scale_dtype, {m.rows, m.blocks}, number_bytes(m.scales, scale_dtype)},
      {"m.weight_shape", "I64", {2}, bytes_of_all(std::vector<int64_t>{m.rows, m.columns})}};
  if (shuffled)
    out.tensors.push_back({"m.weight_g_idx", "I32", {m.columns}, bytes_of_all(m.order)});
  if (zeros == Zeros::any && zero_words) {
    out.tensors.push_back(
        {"m.weight_zero_point",
         "I32",
         {(m.rows + per - 1) / per, m.blocks},
         pack_down(m.rows, m.blocks, bits, [&](int64_t i, int64_t j) { return m.zero(i, j); })});
  } else if (zeros == Zeros::any) {
    std::vector<int8_t> bytes;
    for (const int zero : m.zeros) bytes.push_back(static_cast<int8_t>(zero - (1 << (bits - 1))));
    out.tensors.push_back({"m.weight_zero_point", "I8", {m.rows, m.blocks}, bytes_of_all(bytes)});
  }
  return out;
}

PackedModel int8_model(const PackedShape& shape) {
  const Integers m(shape, 8, Zeros::middle, "F32", false, 4);
  PackedModel out{.rows = m.rows, .columns = m.columns, .values = m.values()};
  out.quantization_config =
      R"({"quant_method":"compressed-tensors","format":"int-quantized","config_groups":)"
      R"({"group_0":{"weights":{"num_bits":8,"type":"int","strategy":"channel"}}}})";
  std::vector<int8_t> codes;
  for (const int code : m.codes) codes.push_back(static_cast<int8_t>(code - 128));
  out.tensors = {{"m.weight", "I8", {m.rows, m.columns}, bytes_of_all(codes)},
                 {"m.weight_scale", "F32", {m.rows, m.blocks}, number_bytes(m.scales, "F32")}};
  return out;
}

PackedModel fp8_model(int64_t rows, int64_t columns, int64_t block_rows, int64_t block_columns,
                      const std::string& scale_dtype, const std::string& scale_name) {
  const int64_t high = block_rows ? block_rows : rows;
  const int64_t wide = block_columns ? block_columns : columns;
  const int64_t down = (rows + high - 1) / high, across = (columns + wide - 1) / wide;
  Draw draw(5);
  const std::vector<float> scales = draw.scales(down * across, scale_dtype);
  std::vector<uint8_t> codes;
  PackedModel out{.rows = rows, .columns = columns};
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      int code = draw.below(256);
      if ((code & 0x7f) == 0x7f) code = 0;  // NaN
      codes.push_back(static_cast<uint8_t>(code));
      out.values.push_back(e4m3(code) * scales[row / high * across + column / wide]);
    }
  }
  out.quantization_config =
      block_rows > 1
          ? fmt::format(R"({{"quant_method":"fp8","weight_block_size":[{},{}]}})", high, wide)
          : R"({"quant_method":"compressed-tensors","format":"float-quantized",)"
            R"("config_groups":{"group_0":{"weights":{"num_bits":8,"type":"float"}}}})";
  out.tensors = {
      {"m.weight", "F8_E4M3", {rows, columns}, bytes_of_all(codes)},
      {"m." + scale_name, scale_dtype, {down, across}, number_bytes(scales, scale_dtype)}};
  if (!block_rows && !block_columns) out.tensors[1].shape = {};
  return out;
}

}  // namespace dinfer::test
