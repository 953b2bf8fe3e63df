#include <gtest/gtest.h>

#include "base/error.h"
#include "checkpoint/gguf.h"

namespace dinfer {
namespace {

const std::filesystem::path kModels = DINFER_SOURCE_DIR "/tests/golden/models";

TEST(GgufMetadata, ReadsEveryKindOfValue) {
  const auto metadata = GgufMetadata::read(kModels / "gguf/llama-k/llama-k-Q4_K.gguf");
  EXPECT_EQ(metadata.get_string("general.architecture"), "llama");
  EXPECT_EQ(metadata.get_int("llama.embedding_length"), 256);
  EXPECT_FLOAT_EQ(*metadata.find_float("llama.attention.layer_norm_rms_epsilon"), 1e-5f);
  EXPECT_EQ(metadata.find_float("llama.block_count"), 1.0);
  EXPECT_EQ(metadata.find_bool("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(metadata.get_strings("tokenizer.ggml.tokens").size(), 576u);
  EXPECT_EQ(metadata.get_strings("tokenizer.ggml.tokens")[2], "</s>");
  EXPECT_EQ(metadata.get_ints("tokenizer.ggml.token_type")[1], 3);
  EXPECT_EQ(metadata.get_floats("tokenizer.ggml.scores").size(), 576u);
}

TEST(GgufMetadata, TellsAbsentFromWronglyTyped) {
  const auto metadata = GgufMetadata::read(kModels / "gguf/llama-4h/llama-4h-F32.gguf");
  EXPECT_FALSE(metadata.has("no.such.key"));
  EXPECT_EQ(metadata.find_string("no.such.key"), nullptr);
  EXPECT_EQ(metadata.find_int("no.such.key"), std::nullopt);
  EXPECT_THROW(metadata.get_int("no.such.key"), Error);
  EXPECT_THROW(metadata.find_int("general.architecture"), Error);
  EXPECT_THROW(metadata.find_strings("tokenizer.ggml.token_type"), Error);
  EXPECT_THROW(metadata.find_bool("llama.block_count"), Error);
}

}  // namespace
}  // namespace dinfer
