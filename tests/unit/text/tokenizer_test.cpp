#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tokenizer_small.h"

namespace dinfer {
namespace {

using Ids = std::vector<int32_t>;

constexpr EncodeOptions kSpecials{.add_special = false, .parse_special = true};
constexpr EncodeOptions kText{.add_special = false};

Ids encode_with_plain(const Tokenizer& tokenizer, std::string_view text,
                      std::vector<TextSpan> plain) {
  return tokenizer.encode(text, {.add_special = false, .parse_special = true, .plain = plain});
}

TEST(Tokenizer, MergesByRank) {
  const auto tokenizer = load_small(small_tokenizer());
  EXPECT_EQ(tokenizer->encode("abcab", kText), (Ids{257, 256}));
  EXPECT_EQ(tokenizer->encode("", kText), Ids{});
  EXPECT_EQ(tokenizer->vocab_size(), 261);
}

TEST(Tokenizer, SpecialTextNeedsPermission) {
  const auto tokenizer = load_small(small_tokenizer());
  EXPECT_EQ(tokenizer->encode("<|a|>", kSpecials), Ids{258});
  EXPECT_EQ(tokenizer->encode("<|a|>", kText), (Ids{'<', '|', 'a', '|', '>'}));
  EXPECT_EQ(tokenizer->encode("<tool>", kText), Ids{260}) << "not special: always recognised";
}

// Merges and whole pieces could otherwise make one out of plain text.
TEST(Tokenizer, ModelNeverGivesASpecialToken) {
  Json json = small_tokenizer();
  json["model"]["ignore_merges"] = true;
  json["added_tokens"].push_back(added_token(257, "abc", true));
  const auto tokenizer = load_small(json);
  EXPECT_EQ(tokenizer->encode("abc", kText), (Ids{256, 'c'}));
  EXPECT_EQ(tokenizer->encode("abc", kSpecials), Ids{257});
}

TEST(Tokenizer, SpecialTokensMustNotOverlapPlainSpans) {
  const auto tokenizer = load_small(small_tokenizer());
  const std::string text = "<|a|><|a|><|b|>";
  EXPECT_EQ(encode_with_plain(*tokenizer, text, {{5, 10}}),
            (Ids{258, '<', '|', 'a', '|', '>', 259}));
  EXPECT_EQ(encode_with_plain(*tokenizer, text, {{0, 1}, {9, 10}}).back(), 259);
  EXPECT_EQ(encode_with_plain(*tokenizer, text, {{5, 5}}), (Ids{258, 258, 259})) << "empty span";
  EXPECT_EQ(encode_with_plain(*tokenizer, text, {{2, 2}, {3, 4}}).front(), '<');
  EXPECT_EQ(encode_with_plain(*tokenizer, "x<|a|>", {{0, 5}}), (Ids{'x', '<', '|', 'a', '|', '>'}));
}

// A plain text that ends in the beginning of a special token must not hide the one behind it.
TEST(Tokenizer, SpecialTokenBehindAPlainBeginningIsFound) {
  Json json = small_tokenizer();
  json["added_tokens"].push_back(added_token(261, "<|<|b|>", true));
  const auto tokenizer = load_small(json);
  EXPECT_EQ(encode_with_plain(*tokenizer, "<|<|b|>", {{0, 2}}), (Ids{'<', '|', 259}));
}

TEST(Tokenizer, PlainSpansHoldForNormalizedSpecialTokens) {
  Json json = small_tokenizer();
  json["normalizer"] = {{"type", "Lowercase"}};
  json["added_tokens"].push_back(added_token(261, "<S>", true, {{"normalized", true}}));
  const auto tokenizer = load_small(json);
  EXPECT_EQ(tokenizer->encode("<S><s>", kSpecials), (Ids{261, 261}));
  EXPECT_EQ(encode_with_plain(*tokenizer, "<S>X<S>", {{3, 7}}), (Ids{261, 'x', '<', 's', '>'}));
}

TEST(Tokenizer, InvalidBytesAreReplacedAndSpansFollow) {
  const auto tokenizer = load_small(small_tokenizer());
  EXPECT_EQ(tokenizer->encode("\xff", kText), (Ids{0xef, 0xbf, 0xbd}));
  EXPECT_EQ(encode_with_plain(*tokenizer, "\xff<|a|>\xe2\x82<|a|>", {{0, 6}}),
            (Ids{0xef, 0xbf, 0xbd, '<', '|', 'a', '|', '>', 0xef, 0xbf, 0xbd, 258}));
}

TEST(Tokenizer, AddedTokensTakeInWhiteSpaceAndStandAlone) {
  Json json = small_tokenizer();
  json["added_tokens"].push_back(added_token(261, "<L>", false, {{"lstrip", true}}));
  json["added_tokens"].push_back(added_token(262, "<R>", false, {{"rstrip", true}}));
  json["added_tokens"].push_back(added_token(263, "word", false, {{"single_word", true}}));
  const auto tokenizer = load_small(json);
  EXPECT_EQ(tokenizer->encode("x \u00a0<L> y", kText), (Ids{'x', 261, ' ', 'y'}));
  EXPECT_EQ(tokenizer->encode("x <R> \n\u3000y", kText), (Ids{'x', ' ', 262, 'y'}));
  EXPECT_EQ(tokenizer->encode("<R> <L>", kText), (Ids{262, 261}));
  EXPECT_EQ(tokenizer->encode("word,word", kText), (Ids{263, ',', 263}));
  EXPECT_EQ(tokenizer->encode("words", kText), (Ids{'w', 'o', 'r', 'd', 's'}));
}

TEST(Tokenizer, TemplateOrConfigPutsTokensAround) {
  Json json = small_tokenizer();
  TokenizerConfig config;
  config.special_texts = {{"bos_token", "<|a|>"}, {"eos_token", "<|b|>"}};
  config.add_bos = config.add_eos = true;
  EXPECT_EQ(load_small(json, config)->encode("x", {}), (Ids{258, 'x', 259}));
  EXPECT_EQ(load_small(json, config)->bos(), 258);
  EXPECT_EQ(load_small(json, config)->eos(), Ids{259});

  const Json sequence = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json special = {{"SpecialToken", {{"id", "<|b|>"}, {"type_id", 0}}}};
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {sequence, special}},
                            {"special_tokens", {{"<|b|>", {{"id", "<|b|>"}, {"ids", {259}}}}}}};
  EXPECT_EQ(load_small(json, config)->encode("x", {}), (Ids{'x', 259})) << "the file decides";
  EXPECT_EQ(load_small(json, config)->encode("x", kText), Ids{'x'});
}

TEST(Tokenizer, DecodesWithAndWithoutSpecialTokens) {
  const auto tokenizer = load_small(small_tokenizer());
  const Ids ids = {258, 257, 260, 0xff, 259};
  EXPECT_EQ(tokenizer->decode(ids, false), "<|a|>abc<tool>\xff<|b|>");
  EXPECT_EQ(tokenizer->decode(ids, true), "abc<tool>\xff");
  for (const int32_t outside : {-1, 261}) {
    try {
      tokenizer->decode(Ids{outside}, false);
      ADD_FAILURE() << outside;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
    }
  }
}

TEST(StreamDecoder, HoldsBackUnfinishedCharacters) {
  const auto tokenizer = load_small(small_tokenizer());
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.push(0xe2), "");
  EXPECT_EQ(decoder.push(0x82), "");
  EXPECT_EQ(decoder.push(0xac), "\u20ac");
  EXPECT_EQ(decoder.push(258), "") << "special";
  EXPECT_EQ(decoder.push(999'999), "") << "outside the vocabulary";
  EXPECT_EQ(decoder.push(0xf0), "");
  EXPECT_EQ(decoder.push('x'), "\ufffdx");
  EXPECT_EQ(decoder.push(0xc3), "");
  EXPECT_EQ(decoder.finish(), "\ufffd");
  EXPECT_EQ(decoder.finish(), "");
  EXPECT_EQ(StreamDecoder(*tokenizer, false).push(258), "<|a|>");
}

// What a decoder strips at the start of a text it must not strip at every token.
TEST(StreamDecoder, StripsOnlyAtTheStart) {
  Json json = small_tokenizer();
  json["decoder"] = {{"type", "Sequence"},
                     {"decoders",
                      {{{"type", "ByteLevel"}},
                       {{"type", "Strip"}, {"content", " "}, {"start", 2}, {"stop", 0}}}}};
  const auto tokenizer = load_small(json);
  const Ids ids = {' ', ' ', ' ', 'a', ' ', ' ', 258, ' ', 'b', 0xe2, ' '};
  StreamDecoder decoder(*tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  text += decoder.finish();
  EXPECT_EQ(text, " a   b\ufffd ");
}

TEST(Tokenizer, LongRunsTakeLinearTime) {
  const auto tokenizer = load_small(small_tokenizer());
  const auto start = std::chrono::steady_clock::now();
  for (const char* unit : {"a", "ab", " ", "\n", "!", "1", "' "}) {
    std::string text;
    while (text.size() < (1u << 20)) text += unit;
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, kText), false), text);
  }
  // Seconds even with sanitizers; quadratic behaviour would take an hour.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

}  // namespace
}  // namespace dinfer
