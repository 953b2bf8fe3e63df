#include "checkpoint/gguf.h"

#include <gtest/gtest.h>

#include "checkpoint/gguf_checkpoint.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/checkpoint/model_bytes.h"

namespace dinfer {
namespace {

using test::GgufBytes;
using test::kModels;
using test::model_error;
using test::TemporaryDirectory;

constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ4_0 = 2;

GgufBytes small_file() {
  GgufBytes bytes;
  bytes.string("general.architecture", "llama").u32("llama.block_count", 1).u16("short", 7);
  bytes.array("flags", 7, 2, std::string("\1\0", 2)).f32("llama.rope.freq_base", 10000);
  bytes.tensor("blk.0.attn_q.weight", {4, 2}, kF32, 0).tensor("output.weight", {32}, kQ4_0, 32);
  return bytes;
}

TEST(Gguf, GivesHuggingFaceNamesAndShapesOutermostFirst) {
  const auto checkpoint = open_gguf(kModels / "gguf/llama-4h/llama-4h-Q4_0.gguf");
  const TensorInfo* down = checkpoint->find("model.layers.1.mlp.down_proj.weight");
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down->shape, (std::vector<int64_t>{64, 192}));
  EXPECT_EQ(down->type, StorageType::q4_0);
  EXPECT_EQ(down->bytes, 64u * 192 / 32 * 18);
  for (const char* name :
       {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight",
        "model.layers.0.input_layernorm.weight", "model.layers.0.post_attention_layernorm.weight",
        "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.self_attn.v_proj.weight", "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight"}) {
    EXPECT_NE(checkpoint->find(name), nullptr) << name;
  }
  const auto qwen3 = open_gguf(kModels / "gguf/qwen3/qwen3-F16.gguf");
  EXPECT_NE(qwen3->find("model.layers.0.self_attn.q_norm.weight"), nullptr);
  const auto qwen2 = open_gguf(kModels / "gguf/qwen2-tied/qwen2-tied-F16.gguf");
  EXPECT_NE(qwen2->find("model.layers.0.self_attn.q_proj.bias"), nullptr);
}

TEST(Gguf, NamesTheFusedTensorsOfPhi3) {
  TemporaryDirectory directory;
  GgufBytes bytes;
  bytes.string("general.architecture", "phi3");
  bytes.tensor("blk.3.attn_qkv.weight", {4, 8}, kF32, 0)
      .tensor("blk.3.ffn_up.weight", {4, 8}, kF32, 128);
  const auto checkpoint = open_gguf(directory.write("x.gguf", bytes.file(256)));
  EXPECT_NE(checkpoint->find("model.layers.3.self_attn.qkv_proj.weight"), nullptr);
  EXPECT_NE(checkpoint->find("model.layers.3.mlp.gate_up_proj.weight"), nullptr);
}

TEST(Gguf, GivesEachExpertATensorOfItsOwn) {
  TemporaryDirectory directory;
  GgufBytes bytes;
  bytes.string("general.architecture", "qwen3moe");
  bytes.tensor("blk.3.ffn_gate_inp.weight", {4, 3}, kF32, 0)
      .tensor("blk.3.ffn_up_exps.weight", {32, 2, 3}, kQ4_0, 64)
      .tensor("blk.3.ffn_down_exps.weight", {4, 3}, kF32, 192);
  std::string data(256, '\0');
  for (int expert = 0; expert < 3; ++expert) data[64 + 36 * expert] = static_cast<char>(7 + expert);
  const auto checkpoint = open_gguf(directory.write("x.gguf", bytes.file(data)));
  EXPECT_NE(checkpoint->find("model.layers.3.mlp.gate.weight"), nullptr);
  for (int expert = 0; expert < 3; ++expert) {
    const TensorInfo* up =
        checkpoint->find(fmt::format("model.layers.3.mlp.experts.{}.up_proj.weight", expert));
    ASSERT_NE(up, nullptr);
    EXPECT_EQ(up->shape, (std::vector<int64_t>{2, 32}));
    EXPECT_EQ(up->bytes, 36u);
    std::byte first{};
    checkpoint->read(*up, 0, {&first, 1});
    EXPECT_EQ(std::to_integer<int>(first), 7 + expert);
  }
  EXPECT_EQ(checkpoint->find("model.layers.3.mlp.experts.3.up_proj.weight"), nullptr);
  EXPECT_NE(checkpoint->find("blk.3.ffn_down_exps.weight"), nullptr) << "no stack: left as it is";
}

TEST(Gguf, NamesExpertsThatHaveTensorsOfTheirOwn) {
  TemporaryDirectory directory;
  GgufBytes bytes;
  bytes.string("general.architecture", "llama");
  bytes.tensor("blk.3.ffn_gate.0.weight", {4, 2}, kF32, 0)
      .tensor("blk.3.ffn_up.11.weight", {4, 2}, kF32, 32)
      .tensor("blk.3.ffn_down.0.weight", {2, 4}, kF32, 64)
      .tensor("blk.3.attn_q.0.weight", {2, 4}, kF32, 96);
  const auto checkpoint = open_gguf(directory.write("x.gguf", bytes.file(128)));
  for (const char* name :
       {"model.layers.3.mlp.experts.0.gate_proj.weight",
        "model.layers.3.mlp.experts.11.up_proj.weight",
        "model.layers.3.mlp.experts.0.down_proj.weight", "blk.3.attn_q.0.weight"})
    EXPECT_NE(checkpoint->find(name), nullptr) << name;
}

TEST(Gguf, OpensAVocabularyWithoutTensors) {
  TemporaryDirectory directory;
  GgufBytes bytes;
  const auto path = directory.write("x.gguf", bytes.string("general.architecture", "mpt").header());
  EXPECT_EQ(GgufMetadata::read(path).get_string("general.architecture"), "mpt");
  EXPECT_EQ(open_gguf(path)->tensors().size(), 0u);
}

TEST(Gguf, RefusesAFileCutAnywhere) {
  TemporaryDirectory directory;
  const std::string whole = small_file().file(32 + 18);
  EXPECT_EQ(model_error([&] { open_gguf(directory.write("cut.gguf", whole)); }), "");
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto path = directory.write("cut.gguf", whole.substr(0, length));
    EXPECT_NE(model_error([&] { open_gguf(path); }), "") << "cut to " << length;
  }
}

TEST(Gguf, SurvivesEveryChangeOfOneHeaderByte) {
  TemporaryDirectory directory;
  const GgufBytes bytes = small_file();
  const std::string whole = bytes.file(32 + 18);
  int refused = 0;
  for (size_t at = 0; at < bytes.header().size(); ++at) {
    for (const char value : {'\0', '\1', '\t', '\x7f', '\x80', '\xff'}) {
      std::string changed = whole;
      changed[at] = value;
      const auto path = directory.write("changed.gguf", changed);
      const std::string error = model_error([&] {
        const auto checkpoint = open_gguf(path);
        for (const TensorInfo& tensor : checkpoint->tensors()) {
          EXPECT_LE(tensor.offset + tensor.bytes, whole.size());
        }
      });
      refused += !error.empty();
    }
  }
  EXPECT_GT(refused, 500);
}

struct BadFile {
  const char* name;
  std::string bytes;
  const char* message;
};

class BadGguf : public testing::TestWithParam<BadFile> {};

TEST_P(BadGguf, IsRefusedWithTheRule) {
  TemporaryDirectory directory;
  const auto path = directory.write("bad.gguf", GetParam().bytes);
  const std::string error = model_error([&] { open_gguf(path); });
  EXPECT_NE(error.find(GetParam().message), std::string::npos) << error;
  EXPECT_NE(error.find(path.string()), std::string::npos) << error;
}

std::string with_tensor(std::vector<uint64_t> sizes, uint32_t type, uint64_t offset = 0) {
  return GgufBytes().tensor("t", std::move(sizes), type, offset).file(64);
}

std::string with_alignment(uint32_t alignment) {
  return GgufBytes().u32("general.alignment", alignment).tensor("t", {8}, kF32, 0).file(64);
}

std::string with_version(uint32_t version) {
  GgufBytes bytes;
  bytes.version = version;
  return bytes.file(0);
}

std::string with_counts(uint64_t tensors, uint64_t values) {
  GgufBytes bytes;
  bytes.extra_tensors = tensors;
  bytes.extra_values = values;
  return bytes.file(64);
}

std::vector<BadFile> bad_files() {
  std::string long_string;
  test::append_number<uint64_t>(long_string, uint64_t{1} << 62);
  return {
      {"NotGguf", std::string("GGML\3\0\0\0", 8) + std::string(64, '\0'), "not a GGUF file"},
      {"Empty", "", "header"},
      {"Version1", with_version(1), "GGUF version 1"},
      {"BigEndian", with_version(0x03000000), "big-endian"},
      {"ManyTensors", with_counts(uint64_t{1} << 61, 0), "tensors do not fit"},
      {"AllTensors", with_counts(UINT64_MAX, 0), "tensors do not fit"},
      {"ManyValues", with_counts(0, UINT64_MAX), "keys do not fit"},
      {"StringBeyondTheFile", GgufBytes().value("k", 8, long_string).file(64), "the file ends at"},
      {"ArrayBeyondTheFile", GgufBytes().array("k", 4, uint64_t{1} << 62, "").file(64),
       "does not fit"},
      {"StringsBeyondTheFile", GgufBytes().array("k", 8, UINT64_MAX, "").file(64), "does not fit"},
      {"ArrayOfArrays", GgufBytes().array("k", 9, 1, "").file(64), "arrays of arrays"},
      {"UnknownValueType", GgufBytes().value("k", 13, "").file(64), "value type 13"},
      {"UnknownArrayType", GgufBytes().array("k", 99, 1, "").file(64), "value type 99"},
      {"KeyTwice", GgufBytes().u32("k", 1).u32("k", 1).file(0), "stands twice"},
      {"TensorTwice", GgufBytes().tensor("t", {8}, kF32, 0).tensor("t", {8}, kF32, 32).file(64),
       "stands twice"},
      {"SameHuggingFaceName",
       GgufBytes()
           .tensor("output.weight", {8}, kF32, 0)
           .tensor("lm_head.weight", {8}, kF32, 32)
           .file(64),
       "stands twice"},
      {"NoDimensions", with_tensor({}, kF32), "0 dimensions"},
      {"FiveDimensions", with_tensor({1, 1, 1, 1, 1}, kF32), "5 dimensions"},
      {"ZeroSize", with_tensor({8, 0}, kF32), "has size 0"},
      {"NegativeSize", with_tensor({UINT64_MAX}, kF32), "has size 18446744073709551615"},
      {"ShapeThatWrapsAround", with_tensor({4194305, 4194305, 211106198978564}, kF32), "64 bits"},
      {"BytesThatWrapAround", with_tensor({uint64_t{1} << 62}, kF32), "64 bits"},
      {"PartOfABlock", with_tensor({33}, kQ4_0), "no multiple of Q4_0's block"},
      {"OutsideTheFile", with_tensor({17}, kF32), "not inside"},
      {"OffsetOutsideTheFile", with_tensor({8}, kF32, 96), "not inside"},
      {"OffsetThatWrapsAround", with_tensor({8}, kF32, UINT64_MAX - 31), "not inside"},
      {"OffsetNotAligned", with_tensor({8}, kF32, 16), "no multiple of the alignment"},
      {"Overlap", GgufBytes().tensor("t", {16}, kF32, 0).tensor("u", {8}, kF32, 32).file(64),
       "overlap"},
      {"SamePlace", GgufBytes().tensor("t", {8}, kF32, 0).tensor("u", {8}, kF32, 0).file(64),
       "overlap"},
      {"AlignmentZero", with_alignment(0), "general.alignment is 0"},
      {"AlignmentOdd", with_alignment(33), "general.alignment is 33"},
      {"AlignmentHuge", with_alignment(1 << 17), "general.alignment is 131072"},
      {"AlignmentText", GgufBytes().string("general.alignment", "x").file(0), "not an integer"},
  };
}

INSTANTIATE_TEST_SUITE_P(Files, BadGguf, testing::ValuesIn(bad_files()),
                         [](const auto& info) { return info.param.name; });

TEST(Gguf, HonoursAnAlignmentOfItsOwn) {
  TemporaryDirectory directory;
  GgufBytes bytes;
  bytes.alignment = 64;
  bytes.u32("general.alignment", 64).tensor("a", {1}, kF32, 0).tensor("b", {1}, kF32, 64);
  const auto checkpoint = open_gguf(directory.write("x.gguf", bytes.file(68)));
  EXPECT_EQ(checkpoint->find("a")->offset % 64, 0u);
  EXPECT_EQ(checkpoint->find("b")->offset, checkpoint->find("a")->offset + 64);
}

TEST(Gguf, RefusesOtherTypesOnlyWhenTheyAreWanted) {
  TemporaryDirectory directory;
  GgufBytes bytes;
  bytes.tensor("a", {32}, 20, 0).tensor("b", {8}, kF32, 32).tensor("c", {8}, 77, 64);
  const auto checkpoint = open_gguf(directory.write("x.gguf", bytes.file(96)));
  EXPECT_NE(checkpoint->find("b"), nullptr);
  EXPECT_NE(model_error([&] { checkpoint->find("a"); }).find("IQ4_NL"), std::string::npos);
  EXPECT_NE(model_error([&] { checkpoint->find("c"); }).find("GGML type 77"), std::string::npos);
}

class SplitGguf : public testing::Test {
 protected:
  void write(int file, uint32_t number, uint32_t count, const char* tensor) {
    GgufBytes bytes;
    bytes.u16("split.no", number).u16("split.count", count).i32("split.tensors.count", 2);
    bytes.string("general.architecture", "llama").tensor(tensor, {8}, kF32, 0);
    directory_.write(fmt::format("m-{:05}-of-00002.gguf", file), bytes.file(32));
  }
  std::string open(int file) {
    return model_error([&] {
      tensors_ = open_gguf(directory_.path() / fmt::format("m-{:05}-of-00002.gguf", file))
                     ->tensors()
                     .size();
    });
  }

  TemporaryDirectory directory_;
  size_t tensors_ = 0;
};

TEST_F(SplitGguf, IsOpenedByItsFirstFile) {
  write(1, 0, 2, "a");
  write(2, 1, 2, "b");
  EXPECT_EQ(open(1), "");
  EXPECT_EQ(tensors_, 2u);
  EXPECT_NE(open(2).find("give the first one"), std::string::npos);
}

TEST_F(SplitGguf, IsRefusedWhenAFileIsMissingWrongOrRepeatsATensor) {
  write(1, 0, 2, "a");
  EXPECT_NE(open(1).find("m-00002-of-00002.gguf"), std::string::npos);
  write(2, 0, 2, "b");
  EXPECT_NE(open(1).find("split.no 0 of 2, not 1 of 2"), std::string::npos);
  write(2, 1, 2, "a");
  EXPECT_NE(open(1).find("stands twice"), std::string::npos);
}

}  // namespace
}  // namespace dinfer
