#include "checkpoint/packed_weight.h"

#include <gtest/gtest.h>

#include "checkpoint/quantization_config.h"
#include "tests/support/packed_model.h"
#include "tests/unit/checkpoint/model_bytes.h"

namespace dinfer {
namespace {

using test::model_error;
using test::PackedModel;
using test::TemporaryDirectory;
using test::Zeros;

std::string finding_error(const PackedModel& model) {
  TemporaryDirectory directory;
  return model_error([&] { open_checkpoint(model.write(directory))->find("m.weight"); });
}

PackedModel gptq() { return test::gptq_model({16, 64, 32}, 4, Zeros::any); }
PackedModel awq() { return test::awq_model({16, 64, 32}); }
PackedModel compressed() { return test::compressed_model({16, 64, 32}, 4, Zeros::any); }
PackedModel fp8() { return test::fp8_model(200, 300, 128, 128, "F32", "weight_scale_inv"); }

struct BrokenModel {
  std::string name;
  PackedModel (*model)();
  void (*damage)(PackedModel&);
  std::string error;

  friend void PrintTo(const BrokenModel& broken, std::ostream* out) { *out << broken.name; }
};

class BrokenPackedModels : public testing::TestWithParam<BrokenModel> {};

TEST_P(BrokenPackedModels, AreRefusedByFileTensorAndRule) {
  PackedModel model = GetParam().model();
  EXPECT_EQ(finding_error(model), "");
  GetParam().damage(model);
  const std::string error = finding_error(model);
  EXPECT_NE(error.find(GetParam().error), std::string::npos) << error;
  EXPECT_NE(error.find("model.safetensors: tensor \"m."), std::string::npos) << error;
}

// A tensor whose shape, and with it its bytes, changes.
void reshape(PackedModel& model, const std::string& name, std::vector<int64_t> shape) {
  test::StoredTensor& tensor = model.tensor(name);
  int64_t elements = 1, before = 1;
  for (const int64_t size : tensor.shape) before *= size;
  for (const int64_t size : shape) elements *= size;
  tensor.bytes.resize(tensor.bytes.size() / before * elements);
  tensor.shape = std::move(shape);
}

const BrokenModel kBroken[] = {
    {"GptqWithoutScales", gptq, [](PackedModel& m) { m.remove("m.scales"); },
     "\"m.qweight\" needs \"m.scales\", which the model's files lack"},
    {"GptqWithoutZeros", gptq, [](PackedModel& m) { m.remove("m.qzeros"); }, "needs \"m.qzeros\""},
    {"GptqCodesOfAnotherType", gptq, [](PackedModel& m) { m.tensor("m.qweight").dtype = "F32"; },
     "\"m.qweight\" is stored as F32, but must be I32"},
    {"GptqCodesUnsigned", gptq, [](PackedModel& m) { m.tensor("m.qweight").dtype = "U32"; },
     "\"m.qweight\" is stored as U32, which is not supported"},
    {"GptqScalesOfIntegers", gptq, [](PackedModel& m) { m.tensor("m.scales").dtype = "I16"; },
     "\"m.scales\" is stored as I16"},
    {"GptqOfThreeBits", gptq,
     [](PackedModel& m) {
       reshape(m, "m.qzeros", {2, 3});
     },
     "\"m.qzeros\" has 3 words for the zeros of 16 outputs; codes of 4 bits take 2"},
    {"GptqZerosOfOtherGroups", gptq,
     [](PackedModel& m) {
       reshape(m, "m.qzeros", {3, 2});
     },
     "\"m.qzeros\" has shape [3, 2], but must have [2, 2]"},
    {"GptqScalesOfOtherOutputs", gptq,
     [](PackedModel& m) {
       reshape(m, "m.scales", {2, 15});
     },
     "\"m.scales\" has shape [2, 15], but must have [2, 16]"},
    {"GptqUnevenGroups", gptq,
     [](PackedModel& m) {
       reshape(m, "m.scales", {7, 16});
       reshape(m, "m.qzeros", {7, 2});
     },
     "\"m.scales\" has 7 scales for 64 inputs, which are no groups of one size"},
    {"GptqOrderTooShort", gptq, [](PackedModel& m) { reshape(m, "m.g_idx", {63}); },
     "\"m.g_idx\" has shape [63], but must have [64]"},
    {"GptqOrderOfFloats", gptq, [](PackedModel& m) { m.tensor("m.g_idx").dtype = "F32"; },
     "\"m.g_idx\" is stored as F32, but must be I32"},
    {"GptqInOneDimension", gptq, [](PackedModel& m) { m.tensor("m.qweight").shape = {128}; },
     "\"m.qweight\" has shape [128]; it must have two dimensions"},
    {"GptqWithoutElements", gptq,
     [](PackedModel& m) {
       reshape(m, "m.qweight", {0, 16});
     },
     "\"m.qweight\" has shape [0, 16]; it must have two dimensions of 1"},
    {"GptqBesidePlainWeights", gptq,
     [](PackedModel& m) {
       m.tensors.push_back({"m.weight", "F16", {16, 64}, std::string(2048, '\0')});
     },
     "\"m.weight\" stands twice"},
    {"AwqWithoutZeros", awq, [](PackedModel& m) { m.remove("m.qzeros"); }, "needs \"m.qzeros\""},
    {"AwqScalesOfOtherOutputs", awq,
     [](PackedModel& m) {
       reshape(m, "m.scales", {2, 8});
     },
     "\"m.scales\" has shape [2, 8], but must have [2, 16]"},
    {"AwqZerosOfOtherOutputs", awq,
     [](PackedModel& m) {
       reshape(m, "m.qzeros", {2, 1});
     },
     "\"m.qzeros\" has shape [2, 1], but must have [2, 2]"},
    {"AwqOddInputs", awq,
     [](PackedModel& m) {
       reshape(m, "m.qweight", {60, 2});
     },
     "\"m.qweight\" has 60 inputs"},
    {"CompressedWithoutScales", compressed, [](PackedModel& m) { m.remove("m.weight_scale"); },
     "needs \"m.weight_scale\""},
    {"CompressedScalesOfOtherOutputs", compressed,
     [](PackedModel& m) {
       reshape(m, "m.weight_scale", {15, 2});
     },
     "\"m.weight_scale\" has shape [15, 2], but must have [16, 2]"},
    {"CompressedZerosOfOtherGroups", compressed,
     [](PackedModel& m) {
       reshape(m, "m.weight_zero_point", {2, 1});
     },
     "\"m.weight_zero_point\" has shape [2, 1], but must have [2, 2]"},
    {"CompressedFloatsOfFourBits", compressed,
     [](PackedModel& m) {
       m.tensor("m.weight_packed").dtype = "U8";
       m.tensor("m.weight_packed").shape = {16, 32};
     },
     "\"m.weight_packed\" is stored as U8"},
    {"Fp8WithoutScales", fp8, [](PackedModel& m) { m.remove("m.weight_scale_inv"); },
     "\"m.weight\" needs \"m.weight_scale\""},
    {"Fp8OtherBlocks", fp8,
     [](PackedModel& m) {
       reshape(m, "m.weight_scale_inv", {2, 2});
     },
     "\"m.weight_scale_inv\" has shape [2, 2], but must have [2, 3]: a scale for each block of 128 "
     "x 128"},
};

INSTANTIATE_TEST_SUITE_P(Models, BrokenPackedModels, testing::ValuesIn(kBroken),
                         [](const auto& info) { return info.param.name; });

TEST(PackedWeight, WhatIsNotQuantisedStaysPlain) {
  TemporaryDirectory directory;
  PackedModel model = gptq();
  model.tensors.push_back({"lm_head.weight", "F16", {2, 3}, std::string(12, '\0')});
  const auto checkpoint = open_checkpoint(model.write(directory));
  EXPECT_EQ(checkpoint->find("lm_head.weight")->type, StorageType::f16);
  EXPECT_EQ(stored_group(*checkpoint->find("lm_head.weight")), 0);
  EXPECT_EQ(checkpoint->find("m.weight")->type, StorageType::packed);
  EXPECT_EQ(checkpoint->find("m.weight")->bytes, 16u * 64 / 2 + 16 * 2 * 2 + 2 * 2 * 4 + 64 * 4);
}

TEST(PackedWeight, TheZeroOfAWholeSymmetricMatrixIsNone) {
  PackedModel model = test::int8_model({16, 64, 0});
  reshape(model, "m.weight_scale", {1});
  model.tensors.push_back({"m.weight_zero_point", "I8", {1}, std::string(1, '\0')});
  TemporaryDirectory directory;
  const auto checkpoint = open_checkpoint(model.write(directory));
  EXPECT_FALSE(checkpoint->find("m.weight")->packed->zeros.has_value());
  model.tensor("m.weight_zero_point").bytes = "\1";
  EXPECT_NE(
      finding_error(model).find("\"m.weight_zero_point\" has shape [1], but must have [16, 1]"),
      std::string::npos);
}

// A tower for images may be packed in ways that a model of text need not know.
TEST(PackedWeight, WhatNobodyAsksForMayBeBroken) {
  TemporaryDirectory directory;
  PackedModel model = gptq();
  model.tensors.push_back({"vision.qweight", "I32", {2, 3}, std::string(24, '\0')});
  const auto checkpoint = open_checkpoint(model.write(directory));
  EXPECT_EQ(checkpoint->find("m.weight")->type, StorageType::packed);
  EXPECT_NE(
      model_error([&] { checkpoint->find("vision.weight"); }).find("\"vision.qweight\" needs"),
      std::string::npos);
}

// Overrides of single modules show in the shapes.
TEST(PackedWeight, BitsAndGroupsOfAModuleMayDifferFromTheConfig) {
  TemporaryDirectory directory;
  PackedModel gptq8 = test::gptq_model({16, 64, 16}, 8, Zeros::any);
  gptq8.quantization_config = gptq().quantization_config;
  const auto first = open_checkpoint(gptq8.write(directory));
  EXPECT_EQ(first->find("m.weight")->packed->bits, 8);
  EXPECT_EQ(first->find("m.weight")->packed->block_columns, 16);

  PackedModel mixed = test::compressed_model({16, 64, 32}, 8, Zeros::any);
  mixed.quantization_config =
      R"({"quant_method":"compressed-tensors","config_groups":{)"
      R"("a":{"weights":{"num_bits":4,"type":"int","group_size":32}},)"
      R"("b":{"weights":{"num_bits":8,"type":"int","group_size":32}},"c":{"weights":null}}})";
  const auto second = open_checkpoint(mixed.write(directory));
  EXPECT_EQ(second->find("m.weight")->packed->bits, 8);
  EXPECT_EQ(second->find("m.weight")->shape, (std::vector<int64_t>{16, 64}));
  mixed.remove("m.weight_shape");
  EXPECT_NE(finding_error(mixed).find("needs \"m.weight_shape\""), std::string::npos);
}

QuantizationConfig config_of(const std::string& json) {
  TemporaryDirectory directory;
  directory.write("config.json", json);
  return read_quantization_config(directory.path());
}

std::string config_error(const std::string& quantization) {
  return model_error([&] { config_of("{\"quantization_config\":" + quantization + "}"); });
}

TEST(QuantizationConfig, RefusesWhatIsNotRead) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"quant_method":"bitsandbytes"})",
       "quantised by \"bitsandbytes\", which is not supported"},
      {R"({"bits":4})", "an unnamed method"},
      {R"({"quant_method":"gptq","bits":3})", "GPTQ with 3 bits"},
      {R"({"quant_method":"gptq","bits":2})", "GPTQ with 2 bits"},
      {R"({"quant_method":"gptq"})", "has no \"bits\""},
      {R"({"quant_method":"gptq","bits":4,"checkpoint_format":"marlin"})", "\"marlin\""},
      {R"({"quant_method":"gptq","bits":4,"group_size":-2})", "-1 to"},
      {R"({"quant_method":"awq","bits":8})", "AWQ with 8 bits"},
      {R"({"quant_method":"awq","bits":4,"version":"GEMV"})", "AWQ in version \"gemv\""},
      {R"({"quant_method":"auto-round","bits":4,"packing_format":"auto_round:llm_compressor"})",
       "AutoRound with packing_format \"auto_round:llm_compressor\""},
      {R"({"quant_method":"auto-round","bits":4,"data_type":"mx_fp"})",
       "weights of type \"mx_fp\""},
      {R"({"quant_method":"auto-round","bits":2})", "GPTQ with 2 bits"},
      {R"({"quant_method":"gptq","bits":4,"is_marlin_format":true})", "GPTQ in Marlin's layout"},
      {R"({"quant_method":"modelopt","quant_algo":"NVFP4"})", "ModelOpt as \"NVFP4\""},
      {R"({"quant_method":"compressed-tensors","config_groups":{},"format":"marlin-24"})",
       "\"marlin-24\""},
      {R"({"quant_method":"fp8","fmt":"e5m2"})", "FP8 as \"e5m2\""},
      {R"({"quant_method":"fp8","weight_block_size":[128]})", "two, rows and columns"},
      {R"({"quant_method":"fp8","weight_block_size":[1,1]})", "FP8 in blocks of 1 inputs"},
      {R"({"quant_method":"compressed-tensors"})", "has no config_groups"},
      {R"({"quant_method":"compressed-tensors","config_groups":{"g":{"weights":)"
       R"({"num_bits":4,"type":"float"}}}})",
       "floats of 4 bits"},
      {R"({"quant_method":"compressed-tensors","config_groups":{"g":{"weights":{"num_bits":3}}}})",
       "compressed-tensors with 3 bits"},
      {R"({"quant_method":"compressed-tensors","config_groups":{},)"
       R"("sparsity_config":{"format":"sparse-24-bitmask"}})",
       "sparse-24-bitmask"},
      {R"({"quant_method":"compressed-tensors","config_groups":{},)"
       R"("quantization_status":"calibration"})",
       "of status \"calibration\""},
      {R"({"quant_method":"compressed-tensors","config_groups":{},"transform_config":{)"
       R"("config_groups":{"v":{"type":"hadamard","apply":[{"location":"weight_input"},)"
       R"({"location":"input"}]}}}})",
       "activations transformed at \"input\""},
  };
  for (const auto& [json, expected] : cases) {
    const std::string error = config_error(json);
    EXPECT_NE(error.find(expected), std::string::npos) << json << ": " << error;
    EXPECT_NE(error.find("config.json: quantization_config"), std::string::npos) << error;
  }
}

// Keys that real models have and that change nothing of their weights.
TEST(QuantizationConfig, TakesStatusesAndTransformsThatWeightsHaveInThem) {
  for (
      const char* more :
      {R"("quantization_status":"frozen")", R"("quantization_status":"compressed")",
       R"("transform_config":{})", R"("transform_config":null)", R"("sparsity_config":{})",
       R"("transform_config":{"config_groups":{"R1":{"apply":[{"location":"weight_output"}]}}})"}) {
    const QuantizationConfig config =
        config_of(R"({"quantization_config":{"quant_method":"compressed-tensors","config_groups":)"
                  R"({"g":{"weights":{"num_bits":4,"group_size":64}}},)" +
                  std::string(more) + "}}");
    EXPECT_EQ(config.bits, std::vector<int>{4}) << more;
    EXPECT_EQ(config.groups, std::vector<int64_t>{64}) << more;
  }
}

TEST(QuantizationConfig, OfAutoRoundIsThatOfTheLayoutItPacksIn) {
  using Method = QuantizationConfig::Method;
  for (const auto& [more, method] :
       {std::pair{R"(,"data_type":"int","packing_format":"auto_round:auto_gptq"})", Method::gptq},
        {R"(,"sym":true,"backend":"auto_round:exllamav2"})", Method::gptq},
        {R"(,"packing_format":"auto_round:auto_awq"})", Method::awq}}) {
    const QuantizationConfig config = config_of(
        R"({"quantization_config":{"quant_method":"auto-round","bits":4,"group_size":64)" +
        std::string(more) + "}");
    EXPECT_EQ(config.method, method) << more;
    EXPECT_EQ(config.groups, std::vector<int64_t>{64});
    EXPECT_FALSE(config.by_activation);
  }
}

TEST(QuantizationConfig, IsFoundWhereOlderModelsKeptIt) {
  TemporaryDirectory directory;
  for (const char* plain :
       {"{}", R"({"quantization_config":null})", R"({"quantization_config":{}})"}) {
    directory.write("config.json", plain);
    EXPECT_EQ(read_quantization_config(directory.path()).method, QuantizationConfig::Method::none);
  }
  directory.write("quantize_config.json", R"({"bits":4,"group_size":128,"desc_act":true})");
  const QuantizationConfig gptq = read_quantization_config(directory.path());
  EXPECT_EQ(gptq.method, QuantizationConfig::Method::gptq);
  EXPECT_EQ(gptq.groups, std::vector<int64_t>{128});
  EXPECT_TRUE(gptq.by_activation);
  EXPECT_EQ(gptq.zero_offset, 1);
  std::filesystem::remove(directory.path() / "quantize_config.json");
  directory.write("hf_quant_config.json",
                  R"({"quantization":{"quant_algo":"FP8","kv_cache_quant_algo":"FP8"}})");
  EXPECT_EQ(read_quantization_config(directory.path()).method, QuantizationConfig::Method::fp8);
  directory.write("hf_quant_config.json", R"({"quantization":{"quant_algo":"NVFP4"}})");
  EXPECT_NE(model_error([&] { read_quantization_config(directory.path()); }).find("NVFP4"),
            std::string::npos);
  directory.write("hf_quant_config.json", R"({"quantization":{"kv_cache_quant_algo":"FP8"}})");
  EXPECT_EQ(read_quantization_config(directory.path()).method, QuantizationConfig::Method::none);
  EXPECT_EQ(
      config_of(R"({"quantization_config":{"quant_method":"modelopt","quant_algo":"FP8"}})").method,
      QuantizationConfig::Method::fp8);
  EXPECT_EQ(config_of(R"({"quantization_config":{"quant_method":"gptq","bits":4,)"
                      R"("checkpoint_format":"gptq_v2"}})")
                .zero_offset,
            0);
  EXPECT_EQ(
      config_of(R"({"quantization_config":{"quant_method":"awq","w_bit":4,"q_group_size":64}})")
          .groups,
      std::vector<int64_t>{64});
}

}  // namespace
}  // namespace dinfer
