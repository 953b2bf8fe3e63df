#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace dinfer {

// How the weights of a Hugging Face model are quantised: what config.json ("quantization_config")
// or, in older models, GPTQ's quantize_config.json or ModelOpt's hf_quant_config.json says. Which
// modules are, at how many bits and in which groups, the tensors themselves show, so that lists of
// modules left out ("ignore", "modules_to_not_convert") and overrides of single modules ("dynamic")
// are not read.
struct QuantizationConfig {
  enum class Method : uint8_t { none, gptq, awq, compressed_tensors, fp8 };

  Method method = Method::none;
  std::string where;            // for messages
  std::vector<int> bits;        // of integer codes, where shapes leave it open; each once
  std::vector<int64_t> groups;  // columns of groups that are not whole rows
  bool symmetric = false;       // gptq: the zeros are said to be the middle of the codes
  bool by_activation = false;   // gptq: columns of a group need not be neighbours ("desc_act")
  int zero_offset = 0;          // gptq: what stored zeros lack: 1, in checkpoint_format gptq_v2 0
  int64_t block_rows = 128;     // of FP8 weights with a scale a block
  int64_t block_columns = 128;
};

// Methods and variants that are not read: Error(model_files).
QuantizationConfig read_quantization_config(const std::filesystem::path& directory);

}  // namespace dinfer
