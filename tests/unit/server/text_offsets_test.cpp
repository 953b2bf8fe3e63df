#include "server/text_offsets.h"

#include <gtest/gtest.h>

#include "server/answer_format.h"
#include "text/load_text.h"

namespace dinfer {
namespace {

const std::filesystem::path kModels = DINFER_SOURCE_DIR "/tests/golden/models";

// The ASCII text from each token's begin to that of the next.
std::vector<std::string> cut(const std::string& text, const std::vector<size_t>& offsets) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < offsets.size(); ++i) {
    const size_t end = i + 1 < offsets.size() ? offsets[i + 1] : text.size();
    parts.push_back(text.substr(offsets[i], end - offsets[i]));
  }
  return parts;
}

// Tokenizers that put BOS in front, a space before the first word, both, or nothing.
TEST(TextOffsets, OfAPromptAreThoseOfItsText) {
  const std::string text = "The sky is blue, isn't it?";
  for (const char* model : {"llama-4h", "mistral-swa", "phi3", "mixtral", "gemma3", "qwen2-tied"}) {
    const auto tokenizer = load_tokenizer({kModels / "hf" / model, false}, "");
    TokenTexts texts(*tokenizer);
    const std::vector<int32_t> ids = tokenizer->encode(text, {});
    const auto parts = cut(text, prompt_offsets(*tokenizer, ids, text));
    ASSERT_EQ(parts.size(), ids.size());
    bool begun = false;
    for (size_t i = 0; i < ids.size(); ++i) {
      const bool special = ids[i] == tokenizer->bos();
      std::string own = special ? "" : texts.of(ids[i]);
      if (!special && !begun && own.starts_with(' ')) own.erase(0, 1);
      begun = begun || !special;
      EXPECT_EQ(parts[i], own) << model << ", token " << i;
    }
  }
}

TEST(TextOffsets, CountCharactersWhoseBytesAreSeveralTokens) {
  const auto tokenizer = load_tokenizer({kModels / "hf/llama-4h", false}, "");
  const std::string text = "a\U0001F600b";
  const std::vector<int32_t> ids = tokenizer->encode(text, {});
  ASSERT_GT(ids.size(), 5u) << "bytes of one character are tokens";
  const std::vector<size_t> offsets = prompt_offsets(*tokenizer, ids, text);
  EXPECT_EQ(offsets[1], 0u);
  for (size_t i = 2; i + 1 < ids.size(); ++i) EXPECT_EQ(offsets[i], 1u);
  EXPECT_EQ(offsets.back(), 2u);
}

// The text of a prompt of ids is what they decode to, BOS included.
TEST(TextOffsets, OfGivenIdsAreThoseOfWhatTheyDecodeTo) {
  const auto tokenizer = load_tokenizer({kModels / "hf/llama-4h", false}, "");
  const std::vector<int32_t> ids = tokenizer->encode("ab", {});
  const std::string text = tokenizer->decode(ids, false);
  const std::vector<size_t> offsets = prompt_offsets(*tokenizer, ids, text);
  EXPECT_EQ(offsets[0], 0u);
  EXPECT_EQ(offsets[1], text.size() - 2);
}

}  // namespace
}  // namespace dinfer
