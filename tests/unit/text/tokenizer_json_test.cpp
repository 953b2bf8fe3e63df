#include "text/tokenizer_json.h"

#include <gtest/gtest.h>

#include "text/utf8.h"
#include "tokenizer_small.h"

namespace dinfer {
namespace {

using Texts = std::vector<std::string>;

// The pieces that `steps` make of a text.
Texts pieces_of(const Json& steps, const std::string& text) {
  PreTokenizers pre_tokenizers;
  read_pre_tokenizer(JsonPart(steps, "steps"), pre_tokenizers);
  Pieces pieces{text, {{0, text.size()}}, true};
  for (const auto& step : pre_tokenizers) step->apply(pieces);
  Texts texts;
  for (const TextSpan& span : pieces.spans) texts.emplace_back(pieces.view(span));
  return texts;
}

std::string normalized(const Json& step, std::string text) {
  Normalizers normalizers;
  read_normalizer(JsonPart(step, "step"), normalizers);
  normalize(normalizers, text);
  return text;
}

std::string decoded(const Json& step, Texts tokens) {
  TokenDecoders decoders;
  read_decoder(JsonPart(step, "step"), decoders);
  for (const auto& decoder : decoders) decoder->apply(tokens);
  std::string text;
  for (const std::string& token : tokens) text += token + "|";
  return text;
}

Json split_step(const Json& pattern, const std::string& behavior, bool invert = false) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
}

TEST(PreTokenizer, SplitBehaviors) {
  const Json dash = {{"String", "-"}};
  const std::string text = "the-final--countdown";
  EXPECT_EQ(pieces_of(split_step(dash, "Removed"), text), (Texts{"the", "final", "countdown"}));
  EXPECT_EQ(pieces_of(split_step(dash, "Isolated"), text),
            (Texts{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(pieces_of(split_step(dash, "MergedWithPrevious"), text),
            (Texts{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(pieces_of(split_step(dash, "MergedWithNext"), text),
            (Texts{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(pieces_of(split_step(dash, "Contiguous"), text),
            (Texts{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(pieces_of(split_step(dash, "Removed", true), text), (Texts{"-", "-", "-"}));
}

TEST(PreTokenizer, PatternsInOnigurumaSyntax) {
  const auto isolated = [](const std::string& pattern, const std::string& text) {
    return pieces_of(split_step({{"Regex", pattern}}, "Isolated"), text);
  };
  EXPECT_EQ(isolated("\\h+", "xyzc0ffee-"), (Texts{"xyz", "c0ffee", "-"}));
  EXPECT_EQ(isolated("[^(\\s|[.,])]+", "a.b,(c d|e"),
            (Texts{"a", ".", "b", ",(", "c", " ", "d", "|", "e"}));
  EXPECT_EQ(isolated("[\\p{L}&&[^a-c]]+", "abdefc1"), (Texts{"ab", "def", "c1"}));
  EXPECT_EQ(isolated("\\w+", "e\u0301\u203fx \u2460"), (Texts{"e\u0301\u203fx", " \u2460"}));
  EXPECT_EQ(isolated("\\s", "a\u180eb\u0085c"), (Texts{"a\u180eb", "\u0085", "c"}));
  EXPECT_EQ(isolated("\\u00e9", "caf\u00e9!"), (Texts{"caf", "\u00e9", "!"}));
  EXPECT_EQ(isolated("(?=(\\d{3})+(?!\\d))", "1234567"), (Texts{"1", "234", "567"}));
  EXPECT_EQ(isolated("a$", "a\na"), (Texts{"a", "\n", "a"}));
}

TEST(PreTokenizer, OtherKinds) {
  EXPECT_EQ(pieces_of({{"type", "Digits"}, {"individual_digits", true}}, "a12\u00bd"),
            (Texts{"a", "1", "2", "\u00bd"}));
  EXPECT_EQ(pieces_of({{"type", "Digits"}, {"individual_digits", false}}, "a12\u00bd"),
            (Texts{"a", "12\u00bd"}));
  EXPECT_EQ(pieces_of({{"type", "Punctuation"}}, "a$!\u3002b"),
            (Texts{"a", "$", "!", "\u3002", "b"}));
  EXPECT_EQ(pieces_of({{"type", "WhitespaceSplit"}}, " a\u00a0b "), (Texts{"a", "b"}));
  EXPECT_EQ(pieces_of({{"type", "CharDelimiterSplit"}, {"delimiter", "_"}}, "a__b_"),
            (Texts{"a", "b"}));
  EXPECT_EQ(pieces_of({{"type", "Whitespace"}}, "a b!?"), (Texts{"a", "b", "!?"}));
  EXPECT_EQ(pieces_of({{"type", "Whitespace"}}, "z\u200d\u24b6_\u2163-\u00bd"),
            (Texts{"z\u200d\u24b6_\u2163", "-\u00bd"}));
  const Json first = {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "first"}};
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  EXPECT_EQ(pieces_of(first, "a b"), (Texts{"_a", "_b"}));
  EXPECT_EQ(pieces_of({{"type", "Sequence"}, {"pretokenizers", {digits, first}}}, "a1b c"),
            (Texts{"_a", "1", "b", "_c"}));
}

TEST(Normalizer, TextsDoNotGrowWithoutEnd) {
  const auto replace = [](size_t count) -> Json {
    return {
        {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(count, 'a')}};
  };
  const Json sequence = {{"type", "Sequence"}, {"normalizers", Json(20, replace(10))}};
  for (const Json& step : {replace(1'000'000), sequence}) {
    try {
      normalized(step, "banana");
      ADD_FAILURE() << "a text grew without end";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
    }
  }
  EXPECT_EQ(normalized({{"type", "NFKC"}}, "\ufdfa").size(), 33u);
  EXPECT_EQ(normalized(replace(1000), "banana").size(), 3003u);
}

TEST(Normalizer, Kinds) {
  EXPECT_EQ(normalized({{"type", "NFC"}}, "e\u0301"), "\u00e9");
  EXPECT_EQ(normalized({{"type", "NFD"}}, "\u00e9"), "e\u0301");
  EXPECT_EQ(normalized({{"type", "NFKC"}}, "\ufb01\u2460"), "fi1");
  EXPECT_EQ(normalized({{"type", "NFKD"}}, "\u00bd"), "1\u20442");
  EXPECT_EQ(normalized({{"type", "Lowercase"}}, "\u0130\u00c9A"), "i\u0307\u00e9a");
  EXPECT_EQ(normalized({{"type", "StripAccents"}}, "e\u0301"), "e");
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, " a "),
            "a ");
  EXPECT_EQ(normalized({{"type", "Prepend"}, {"prepend", "_"}}, "a"), "_a");
  EXPECT_EQ(normalized({{"type", "Prepend"}, {"prepend", "_"}}, ""), "");
  const Json replace = {{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}};
  EXPECT_EQ(
      normalized({{"type", "Sequence"}, {"normalizers", {replace, {{"type", "NFC"}}}}}, "a   b"),
      "a b");
}

TEST(TokenDecoder, Kinds) {
  EXPECT_EQ(decoded({{"type", "ByteFallback"}}, {"<0xC3>", "<0xA9>", "<0xG1>"}),
            "\xc3|\xa9|<0xG1>|");
  EXPECT_EQ(decoded({{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "always"}},
                    {"_a", "_b"}),
            "a| b|");
  EXPECT_EQ(
      decoded({{"type", "Strip"}, {"content", "x"}, {"start", 1}, {"stop", 1}}, {"xxax", "b"}),
      "xa|b|");
  EXPECT_EQ(decoded({{"type", "ByteLevel"}}, {"\u0120a", "\u20ac"}), " a\u20ac|");
}

TEST(TokenizerJson, NormalizedAddedTokensAreDecodedAsTheNormalizersLeaveThem) {
  Json json = small_tokenizer();
  json["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers", {{{"type", "Lowercase"}}, {{"type", "Prepend"}, {"prepend", "_"}}}}};
  json["added_tokens"].push_back(added_token(261, "<TOOL>", false, {{"normalized", true}}));
  json["added_tokens"].push_back(added_token(262, "<RAW>", false));
  const auto tokenizer = load_small(json);
  EXPECT_EQ(tokenizer->decode(std::vector{97, 261, 262}, false), "a_<tool><RAW>");
}

// What is not supported is refused with the file, the place and its name.
void expect_refused(const Json& json, const std::vector<std::string>& words) {
  try {
    load_small(json);
    ADD_FAILURE() << "not refused: " << words.back();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::model_files);
    EXPECT_TRUE(std::string(error.what()).starts_with("small.json")) << error.what();
    for (const std::string& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
}

TEST(TokenizerJson, RefusesByName) {
  const auto with = [](const char* pointer, const Json& value) {
    Json json = small_tokenizer();
    json[Json::json_pointer(pointer)] = value;
    return json;
  };
  expect_refused(with("/normalizer", {{"type", "Precompiled"}}),
                 {"normalizer", "\"Precompiled\"", "NFC, "});
  expect_refused(with("/pre_tokenizer",
                      {{"type", "Sequence"}, {"pretokenizers", {{{"type", "UnicodeScripts"}}}}}),
                 {"pretokenizers[0]", "\"UnicodeScripts\"", "CharDelimiterSplit, "});
  expect_refused(with("/decoder", {{"type", "WordPiece"}}), {"decoder", "\"WordPiece\"", "Fuse, "});
  expect_refused(with("/post_processor", {{"type", "BertProcessing"}}),
                 {"\"BertProcessing\"", "TemplateProcessing, "});
  expect_refused(with("/model/type", "Unigram"), {"model", "\"Unigram\"", "BPE is"});
  expect_refused(with("/model/continuing_subword_prefix", "##"), {"continuing_subword_prefix"});
  expect_refused(with("/pre_tokenizer", {{"type", "CharDelimiterSplit"}, {"delimiter", "ab"}}),
                 {"delimiter", "one character"});
  expect_refused(with("/model/dropout", 0.1), {"dropout"});
  expect_refused(with("/model/merges", {"a zz"}), {"merges", "\"zz\""});
  expect_refused(with("/model/merges", {"a"}), {"merges", "not a pair"});
  expect_refused(with("/model/vocab/new", 3), {"vocab", "same id 3"});
  expect_refused(with("/model/vocab/new", -1), {"vocab", "\"new\""});
  expect_refused(with("/model/vocab/new", 1'000'000'000), {"vocab", "\"new\""});
  expect_refused(with("/pre_tokenizer", split_step({{"Regex", "(a"}}, "Isolated")), {"(a"});
  expect_refused(with("/added_tokens/0/content", std::string(2000, 'x')),
                 {"added_tokens[0]", "2000"});
  expect_refused(with("/added_tokens/0/special", "yes"), {"added_tokens[0].special"});
}

TEST(Utf8, InvalidSequencesBecomeOneReplacementEach) {
  EXPECT_EQ(to_valid_utf8("a\xe2\x82z\xff\xf0\x9f\x98"), "a\ufffdz\ufffd\ufffd");
  EXPECT_EQ(to_valid_utf8("\xed\xa0\x80\xc0\xaf"), "\ufffd\ufffd\ufffd\ufffd\ufffd");
  EXPECT_EQ(to_valid_utf8("\xf4\x8f\xbf\xbf\xe2\x82\xac"), "\xf4\x8f\xbf\xbf\u20ac");
  EXPECT_EQ(unfinished_bytes("a\xe2\x82"), 2u);
  EXPECT_EQ(unfinished_bytes("\xf0\x9f\x98"), 3u);
  EXPECT_EQ(unfinished_bytes("\xe0\x80"), 0u);
  EXPECT_EQ(unfinished_bytes("\xe2\x82\xac"), 0u);
}

}  // namespace
}  // namespace dinfer
