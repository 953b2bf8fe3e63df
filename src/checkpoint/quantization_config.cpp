#include "checkpoint/quantization_config.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/json_fields.h"

namespace dinfer {

namespace {

using Method = QuantizationConfig::Method;

constexpr uint64_t kMostConfigBytes = 16 << 20;
constexpr int64_t kWholeRows = -1;          // as "group_size"
constexpr int64_t kLeastBlockColumns = 16;  // each block of a row costs memory while it is read

[[noreturn]] void refuse(const JsonFields& json, const std::string& what) {
  fail(ExitCode::model_files,
       "{}: the weights are quantised by {}, which is not supported: use the model with plain "
       "weights (with --quant 4 or 8 if wished), in another quantised form, or as GGUF",
       json.where(), what);
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

void check_bits(const JsonFields& json, const char* method, int64_t bits) {
  if (bits != 4 && bits != 8) refuse(json, fmt::format("{} with {} bits", method, bits));
}

void add_group(const JsonFields& json, QuantizationConfig& config) {
  const auto group = json.integer("group_size", kWholeRows, kMostFfn);
  if (group && *group > 0) config.groups.push_back(*group);
}

void read_gptq(const JsonFields& json, QuantizationConfig& config) {
  config.method = Method::gptq;
  check_bits(json, "GPTQ", json.required_integer("bits", 1, 32));
  const std::string format = json.string("checkpoint_format").value_or("gptq");
  if (format != "gptq" && format != "gptq_v2") {
    refuse(json, "GPTQ with checkpoint_format " + printable(format));
  }
  if (json.boolean("is_marlin_format").value_or(false)) refuse(json, "GPTQ in Marlin's layout");
  config.zero_offset = format == "gptq" ? 1 : 0;
  config.symmetric = json.boolean("sym").value_or(false);
  config.by_activation = json.boolean("desc_act").value_or(false);
  add_group(json, config);
}

void read_awq(const JsonFields& json, QuantizationConfig& config) {
  config.method = Method::awq;
  const auto bits = json.integer("bits", 1, 32);
  const int64_t used = bits ? *bits : json.required_integer("w_bit", 1, 32);
  if (used != 4) refuse(json, fmt::format("AWQ with {} bits", used));
  const std::string version = lower(json.string("version").value_or("gemm"));
  if (version != "gemm") refuse(json, "AWQ in version " + printable(version));
  const char* group = json.find("group_size") ? "group_size" : "q_group_size";
  const auto columns = json.integer(group, kWholeRows, kMostFfn);
  if (columns && *columns > 0) config.groups.push_back(*columns);
}

// AutoRound (https://github.com/intel/auto-round) stores what it finds in the layouts of others.
void read_auto_round(const JsonFields& json, QuantizationConfig& config) {
  const std::string type = json.string("data_type").value_or("int");
  if (type != "int") refuse(json, "AutoRound with weights of type " + printable(type));
  const std::string packing = json.string("packing_format").value_or("auto_round:auto_gptq");
  if (packing == "auto_round:auto_gptq" || packing == "auto_round:gptqmodel" ||
      packing == "auto_round:gptq") {
    return read_gptq(json, config);
  }
  if (packing == "auto_round:auto_awq" || packing == "auto_round:awq") {
    return read_awq(json, config);
  }
  refuse(json, "AutoRound with packing_format " + printable(packing));
}

void read_block(const JsonFields& json, const char* key, QuantizationConfig& config) {
  const auto sizes = json.integers(key, 1, kMostFfn);
  if (sizes.empty()) return;
  if (sizes.size() != 2) {
    fail(ExitCode::model_files, "{}: {} has {} numbers; it must have two, rows and columns",
         json.where(), key, sizes.size());
  }
  if (sizes[1] < kLeastBlockColumns) {
    refuse(json, fmt::format("FP8 in blocks of {} inputs", sizes[1]));
  }
  config.block_rows = sizes[0];
  config.block_columns = sizes[1];
}

void read_fp8(const JsonFields& json, QuantizationConfig& config) {
  config.method = Method::fp8;
  const std::string format = json.string("fmt").value_or("e4m3");
  if (format != "e4m3" && format != "float8_e4m3fn") refuse(json, "FP8 as " + printable(format));
  read_block(json, "weight_block_size", config);
}

// NVIDIA's ModelOpt (https://github.com/NVIDIA/TensorRT-Model-Optimizer): FP8 with a scale a
// tensor.
void read_modelopt(const JsonFields& json, QuantizationConfig& config) {
  const auto algorithm = json.string("quant_algo");
  if (!algorithm) return;  // only the KV cache is
  if (*algorithm != "FP8") refuse(json, "ModelOpt as " + printable(*algorithm));
  config.method = Method::fp8;
}

// What one of "config_groups" does to weights.
void read_scheme(const JsonFields& json, QuantizationConfig& config) {
  const std::string type = json.string("type").value_or("int");
  const int64_t bits = json.required_integer("num_bits", 1, 32);
  if (type == "float" && bits != 8) {
    refuse(json, fmt::format("compressed-tensors with floats of {} bits", bits));
  }
  check_bits(json, "compressed-tensors", bits);
  if (type == "float") return read_block(json, "block_structure", config);
  if (std::ranges::find(config.bits, bits) == config.bits.end()) {
    config.bits.push_back(static_cast<int>(bits));
  }
  add_group(json, config);
}

// Rotations that are part of the weights ("weight_input", "weight_output") need nothing more; those
// of activations would have to be computed in each forward pass.
void refuse_rotated_activations(const JsonFields& json) {
  const Json* transforms = json.find("transform_config");
  if (!transforms || transforms->empty()) return;
  const JsonFields config(*transforms, json.where() + ": transform_config");
  const Json* groups = config.find("config_groups");
  if (!groups) return;
  const JsonFields named(*groups, config.where() + ": config_groups");
  for (const auto& [name, group] : groups->items()) {
    const JsonFields scheme(group, named.where() + " " + printable(name));
    const Json* places = scheme.find("apply");
    if (!places) continue;
    for (const Json& place : *places) {
      const std::string location = JsonFields(place, scheme.where() + " apply")
                                       .string("location")
                                       .value_or("a place without a name");
      if (location != "weight_input" && location != "weight_output")
        refuse(json, "compressed-tensors with activations transformed at " + printable(location));
    }
  }
}

void read_compressed_tensors(const JsonFields& json, QuantizationConfig& config) {
  config.method = Method::compressed_tensors;
  if (const Json* sparsity = json.find("sparsity_config"); sparsity && !sparsity->empty()) {
    const JsonFields fields(*sparsity, json.where() + ": sparsity_config");
    const std::string format = fields.string("format").value_or("dense");
    if (format != "dense") refuse(json, "compressed-tensors, sparse as " + printable(format));
  }
  if (json.string("format").value_or("dense") == "marlin-24")
    refuse(json, "compressed-tensors in Marlin's layout, \"marlin-24\"");
  // Until 2024 weights were stored compressed under the status "frozen", too.
  const std::string status = json.string("quantization_status").value_or("compressed");
  if (status != "compressed" && status != "frozen")
    refuse(json, "compressed-tensors of status " + printable(status));
  refuse_rotated_activations(json);
  const Json* groups = json.find("config_groups");
  if (!groups) fail(ExitCode::model_files, "{}: has no config_groups", json.where());
  const std::string where = json.where() + ": config_groups";
  const JsonFields object(*groups, where);
  for (const auto& [name, group] : groups->items()) {
    const JsonFields fields(group, where + " " + printable(name));
    if (const Json* weights = fields.find("weights")) {
      read_scheme(JsonFields(*weights, fields.where() + " weights"), config);
    }
  }
}

std::optional<Json> read_json(const std::filesystem::path& path) {
  if (!is_present(path)) return std::nullopt;
  return parse_json(read_text_file(path, kMostConfigBytes), path.string(), ExitCode::model_files);
}

// Where config.json says nothing: files of GPTQ's and of ModelOpt's own.
void read_other_files(const std::filesystem::path& directory, QuantizationConfig& config) {
  const auto gptq_path = directory / "quantize_config.json";
  if (const std::optional<Json> gptq = read_json(gptq_path)) {
    config.where = gptq_path.string();
    return read_gptq(JsonFields(*gptq, config.where), config);
  }
  const auto modelopt_path = directory / "hf_quant_config.json";
  if (const std::optional<Json> modelopt = read_json(modelopt_path)) {
    config.where = modelopt_path.string() + ": quantization";
    const JsonFields file(*modelopt, modelopt_path.string());
    if (const Json* section = file.find("quantization"))
      read_modelopt(JsonFields(*section, config.where), config);
  }
}

}  // namespace

QuantizationConfig read_quantization_config(const std::filesystem::path& directory) {
  QuantizationConfig config;
  const auto path = directory / "config.json";
  const std::optional<Json> text = read_json(path);
  if (!text) return config;  // read_model_config names what is missing
  const JsonFields model(*text, path.string());
  const Json* section = model.find("quantization_config");
  if (!section) section = model.find("compression_config");  // compressed-tensors until 2024
  if (!section || section->empty()) {
    read_other_files(directory, config);
    return config;
  }
  config.where = path.string() + ": quantization_config";
  const JsonFields json(*section, config.where);
  const auto method = json.string("quant_method");
  if (!method) refuse(json, "an unnamed method");
  if (*method == "gptq") {
    read_gptq(json, config);
  } else if (*method == "awq") {
    read_awq(json, config);
  } else if (*method == "auto-round" || *method == "intel/auto-round") {
    read_auto_round(json, config);
  } else if (*method == "compressed-tensors") {
    read_compressed_tensors(json, config);
  } else if (*method == "modelopt") {
    read_modelopt(json, config);
  } else if (*method == "fp8" || *method == "fbgemm_fp8") {
    read_fp8(json, config);
  } else {
    refuse(json, printable(*method));
  }
  return config;
}

}  // namespace dinfer
