
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace dinfer {
namespace {

// Words are made of what the Unicode standard (UTS #18) says, with the joiners of emoji and
// scripts, unlike \w of the patterns that files bring.
constexpr std::string_view kWordsOrOthers =
    R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}\s]+)";
constexpr int kNestedSequences = 16;

constexpr std::string_view kNormalizers =
    "NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Prepend, Replace, Strip and Sequence";
constexpr std::string_view kPreTokenizers =
    "ByteLevel, Split, CharDelimiterSplit, Digits, Punctuation, Whitespace, WhitespaceSplit, "
    "Metaspace and Sequence";
constexpr std::string_view kDecoders =
    "ByteLevel, ByteFallback, Metaspace, Fuse, Strip, Replace and Sequence";

Pattern read_pattern(const JsonPart& part) {
  if (part.value().is_string()) return Pattern::literal(part.as_string());
  if (const auto text = part.find("String")) return Pattern::literal(text->as_string());
  if (const auto regex = part.find("Regex"))
    return Pattern::regex(regex->as_string(), part.where());
  part.refuse("is neither {\"String\": ...} nor {\"Regex\": ...}");
}

SplitBehavior read_behavior(const JsonPart& part) {
  const std::string name = part.as_string();
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  part.refuse_kind("behavior", name,
                   "Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous");
}

// One character, as Metaspace, Strip and CharDelimiterSplit want it.
std::string read_one_character(const JsonPart& part, const char* key, std::string_view otherwise) {
  const std::string text = part.string_or(key, otherwise);
  if (text.empty() || read_character(text, 0).bytes != text.size()) {
    part.refuse(fmt::format("{} is not one character", key));
  }
  return text;
}

constexpr std::string_view kMetaspace = "\u2581";

PrependScheme read_prepend_scheme(const JsonPart& part) {
  const auto scheme = part.find("prepend_scheme");
  if (!scheme) {  // files older than the scheme
    return part.flag_or("add_prefix_space", true) ? PrependScheme::always : PrependScheme::never;
  }
  const std::string name = scheme->as_string();
  if (name == "always") return PrependScheme::always;
  if (name == "first") return PrependScheme::first;
  if (name == "never") return PrependScheme::never;
  scheme->refuse_kind("prepend scheme", name, "always, first and never");
}

size_t read_count(const JsonPart& part, const char* key) {
  const auto count = part.find(key);
  return count ? static_cast<size_t>(count->as_id()) : 0;
}

void read_normalizer_at(const JsonPart& part, int depth, Normalizers& normalizers) {
  const std::string type = part.string("type");
  if (type == "Sequence") {
    if (depth > kNestedSequences) part.refuse("sequences are nested too deeply");
    for (const JsonPart& inner : part.get("normalizers").items()) {
      read_normalizer_at(inner, depth + 1, normalizers);
    }
  } else if (type == "NFC") {
    normalizers.push_back(make_normal_form(NormalForm::nfc));
  } else if (type == "NFD") {
    normalizers.push_back(make_normal_form(NormalForm::nfd));
  } else if (type == "NFKC") {
    normalizers.push_back(make_normal_form(NormalForm::nfkc));
  } else if (type == "NFKD") {
    normalizers.push_back(make_normal_form(NormalForm::nfkd));
  } else if (type == "Lowercase") {
    normalizers.push_back(make_lowercase());
  } else if (type == "StripAccents") {
    normalizers.push_back(make_strip_accents());
  } else if (type == "Prepend") {
    normalizers.push_back(make_prepend(part.string("prepend")));
  } else if (type == "Replace") {
    normalizers.push_back(make_replace(read_pattern(part.get("pattern")), part.string("content")));
  } else if (type == "Strip") {
    normalizers.push_back(
        make_strip(part.flag_or("strip_left", true), part.flag_or("strip_right", true)));
  } else {
    part.refuse_kind("normalizer", type, kNormalizers);
  }
}

void read_byte_level(const JsonPart& part, PreTokenizers& steps) {
  if (part.flag_or("add_prefix_space", true)) steps.push_back(make_prefix_space());
  if (part.flag_or("use_regex", true)) {
    steps.push_back(make_pattern_split(Pattern::regex(kGpt2Pattern, part.where()),
                                       SplitBehavior::isolated, false));
  }
  steps.push_back(make_byte_letters());
}

void read_pre_tokenizer_at(const JsonPart& part, int depth, PreTokenizers& steps) {
  const std::string type = part.string("type");
  if (type == "Sequence") {
    if (depth > kNestedSequences) part.refuse("sequences are nested too deeply");
    for (const JsonPart& inner : part.get("pretokenizers").items()) {
      read_pre_tokenizer_at(inner, depth + 1, steps);
    }
  } else if (type == "ByteLevel") {
    read_byte_level(part, steps);
  } else if (type == "Split") {
    steps.push_back(make_pattern_split(read_pattern(part.get("pattern")),
                                       read_behavior(part.get("behavior")),
                                       part.flag_or("invert", false)));
  } else if (type == "CharDelimiterSplit") {
    steps.push_back(make_pattern_split(Pattern::literal(read_one_character(part, "delimiter", "")),
                                       SplitBehavior::removed, false));
  } else if (type == "Digits") {
    const bool each = part.flag_or("individual_digits", false);
    steps.push_back(make_character_split(
        &is_number, each ? SplitBehavior::isolated : SplitBehavior::contiguous));
  } else if (type == "Whitespace") {
    steps.push_back(make_pattern_split(Pattern::regex(kWordsOrOthers, part.where()),
                                       SplitBehavior::removed, true));
  } else if (type == "WhitespaceSplit") {
    steps.push_back(make_character_split(&is_white_space, SplitBehavior::removed));
  } else if (type == "Punctuation") {
    const auto behavior = part.find("behavior");
    steps.push_back(make_character_split(
        &is_punctuation, behavior ? read_behavior(*behavior) : SplitBehavior::isolated));
  } else if (type == "Metaspace") {
    steps.push_back(make_metaspace(read_one_character(part, "replacement", kMetaspace),
                                   read_prepend_scheme(part), part.flag_or("split", true)));
  } else {
    part.refuse_kind("pre-tokenizer", type, kPreTokenizers);
  }
}

// `fused`: the tokens are one text already.
void read_decoder_at(const JsonPart& part, int depth, bool& fused, TokenDecoders& decoders) {
  const std::string type = part.string("type");
  if (type == "Sequence") {
    if (depth > kNestedSequences) part.refuse("sequences are nested too deeply");
    for (const JsonPart& inner : part.get("decoders").items()) {
      read_decoder_at(inner, depth + 1, fused, decoders);
    }
  } else if (type == "ByteLevel") {
    decoders.push_back(make_byte_letters_decoder());
    fused = true;
  } else if (type == "ByteFallback") {
    decoders.push_back(make_byte_fallback_decoder());
  } else if (type == "Metaspace") {
    decoders.push_back(make_metaspace_decoder(read_one_character(part, "replacement", kMetaspace),
                                              read_prepend_scheme(part) != PrependScheme::never));
  } else if (type == "Fuse") {
    decoders.push_back(make_fuse_decoder());
    fused = true;
  } else if (type == "Strip") {
    const size_t stop = read_count(part, "stop");
    if (fused && stop > 0)
      part.refuse("a decoder that strips the end of the text is not supported");
    decoders.push_back(make_strip_decoder(read_one_character(part, "content", " "),
                                          read_count(part, "start"), stop));
  } else if (type == "Replace") {
    decoders.push_back(
        make_replace_decoder(read_pattern(part.get("pattern")), part.string("content")));
  } else {
    part.refuse_kind("decoder", type, kDecoders);
  }
}

}  // namespace

void read_normalizer(const JsonPart& part, Normalizers& normalizers) {
  read_normalizer_at(part, 0, normalizers);
}

void read_pre_tokenizer(const JsonPart& part, PreTokenizers& pre_tokenizers) {
  read_pre_tokenizer_at(part, 0, pre_tokenizers);
}

void read_decoder(const JsonPart& part, TokenDecoders& decoders) {
  bool fused = false;
  read_decoder_at(part, 0, fused, decoders);
}

}  // namespace dinfer
