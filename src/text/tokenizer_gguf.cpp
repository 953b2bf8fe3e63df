#include "text/tokenizer_gguf.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/log.h"
#include "text/gguf_patterns.h"
#include "text/pipeline_tokenizer.h"

namespace dinfer {
namespace {

// Values of tokenizer.ggml.token_type.
enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6 };

constexpr size_t kMaxTokens = 16'000'000;
constexpr std::string_view kSpaceMark = "\u2581";

// Tokens by which models end a text or a turn. Files often name only one of theirs.
constexpr std::array<std::string_view, 13> kEndTokens = {"<|eot_id|>",
                                                         "<|im_end|>",
                                                         "<|end|>",
                                                         "<end_of_turn>",
                                                         "<turn|>",
                                                         "<|endoftext|>",
                                                         "<|eom_id|>",
                                                         "<EOT>",
                                                         "<|end_of_text|>",
                                                         "</s>",
                                                         "<end_of_utterance>",
                                                         "[EOT]",
                                                         "<｜end▁of▁sentence｜>"};

class Builder {
 public:
  explicit Builder(const GgufMetadata& metadata)
      : metadata_(metadata),
        tokens_(metadata.get_strings("tokenizer.ggml.tokens")),
        types_(metadata.find_ints("tokenizer.ggml.token_type")) {
    if (tokens_.size() > kMaxTokens) refuse("tokenizer.ggml.tokens", "has too many tokens");
    check_length("tokenizer.ggml.token_type", types_ ? types_->size() : tokens_.size());
  }

  std::unique_ptr<Tokenizer> build() {
    const std::string& model = metadata_.get_string("tokenizer.ggml.model");
    if (model == "gpt2") {
      build_byte_level();
    } else if (model == "llama") {
      build_sentencepiece();
    } else if (model == "gemma4") {
      build_spaced_bpe();
    } else {
      refuse("tokenizer.ggml.model",
             fmt::format("is \"{}\"; supported are gpt2, llama and gemma4", model));
    }
    add_tokens();
    add_specials();
    return std::make_unique<PipelineTokenizer>(std::move(parts_));
  }

 private:
  [[noreturn]] void refuse(std::string_view key, std::string_view why) const {
    fail(ExitCode::model_files, "{}: {} {}", metadata_.path().string(), key, why);
  }

  void check_length(std::string_view key, size_t length) const {
    if (length == tokens_.size()) return;
    refuse(key, fmt::format("has {} entries for {} tokens", length, tokens_.size()));
  }

  int64_t type_of(size_t id) const { return types_ ? (*types_)[id] : kNormal; }
  bool is_special(size_t id) const { return type_of(id) == kControl || type_of(id) == kUnknown; }

  // The texts a model may produce; special tokens are none of them, whatever a user writes.
  std::vector<std::string> ordinary_texts() const {
    std::vector<std::string> texts = tokens_;
    for (size_t id = 0; id < texts.size(); ++id) {
      if (is_special(id)) texts[id].clear();
    }
    return texts;
  }

  std::vector<Merge> read_merges(const Vocabulary& vocabulary) const {
    std::vector<Merge> merges;
    const auto& lines = metadata_.get_strings("tokenizer.ggml.merges");
    merges.reserve(lines.size());
    std::string joined;
    for (const std::string& line : lines) {
      const size_t space = line.find(' ', 1);
      if (space == std::string::npos) {
        refuse("tokenizer.ggml.merges", fmt::format("holds \"{}\", which is no pair", line));
      }
      const std::string_view left = std::string_view(line).substr(0, space);
      const std::string_view right = std::string_view(line).substr(space + 1);
      joined.assign(left).append(right);
      const Merge merge{vocabulary.find(left), vocabulary.find(right), vocabulary.find(joined)};
      // Some files list merges of tokens that their vocabulary has not kept: these never apply.
      if (merge.left >= 0 && merge.right >= 0 && merge.merged >= 0) merges.push_back(merge);
    }
    return merges;
  }

  void build_byte_level() {
    const std::string* pre = metadata_.find_string("tokenizer.ggml.pre");
    const GgufPreTokenizer* known = find_gguf_pre_tokenizer(pre ? *pre : "");
    if (known == nullptr) {
      refuse("tokenizer.ggml.pre", fmt::format("is \"{}\", which is not supported", *pre));
    }
    if (pre == nullptr) {
      log::warn("{}: no tokenizer.ggml.pre: how text is split before tokenization is a guess",
                metadata_.path().string());
    }
    const std::string where = metadata_.path().string() + ": tokenizer.ggml.pre";
    if (known->nfc) parts_.normalizers.push_back(make_normal_form(NormalForm::nfc));
    for (const std::string_view pattern : known->patterns) {
      parts_.pre_tokenizers.push_back(
          make_pattern_split(Pattern::regex(pattern, where), SplitBehavior::isolated, false));
    }
    parts_.pre_tokenizers.push_back(make_byte_letters());
    parts_.decoders.push_back(make_byte_letters_decoder());
    BpeOptions options;
    options.ignore_merges = known->ignore_merges;
    Vocabulary vocabulary(ordinary_texts());
    const std::vector<Merge> merges = read_merges(vocabulary);
    parts_.model = make_bpe(std::move(vocabulary), merges, options);
    add_bos_ = known->add_bos;
  }

  void add_space_marks(bool prefix) {
    if (prefix) parts_.normalizers.push_back(make_prepend(std::string(kSpaceMark)));
    parts_.normalizers.push_back(make_replace(Pattern::literal(" "), std::string(kSpaceMark)));
    parts_.decoders.push_back(make_replace_decoder(Pattern::literal(std::string(kSpaceMark)), " "));
    parts_.decoders.push_back(make_byte_fallback_decoder());
    parts_.decoders.push_back(make_fuse_decoder());
    if (prefix) parts_.decoders.push_back(make_strip_decoder(" ", 1, 0));
  }

  void build_sentencepiece() {
    add_space_marks(metadata_.find_bool("tokenizer.ggml.add_space_prefix").value_or(true));
    const auto& values = metadata_.get_floats("tokenizer.ggml.scores");
    check_length("tokenizer.ggml.scores", values.size());
    std::vector<float> scores(values.begin(), values.end());
    for (const float score : scores) {
      if (std::isnan(score)) refuse("tokenizer.ggml.scores", "has a score that is not a number");
    }
    std::vector<std::string> texts = ordinary_texts();
    const auto unknown = find_token("tokenizer.ggml.unknown_token_id");
    parts_.model =
        make_scored_bpe(Vocabulary(std::move(texts)), std::move(scores), unknown.value_or(-1));
    add_bos_ = true;
  }

  // Gemma 4: merges as in BPE, on text whose spaces are marked; no piece crosses a line break.
  void build_spaced_bpe() {
    add_space_marks(metadata_.find_bool("tokenizer.ggml.add_space_prefix").value_or(false));
    parts_.pre_tokenizers.push_back(
        make_pattern_split(Pattern::regex("[^\\n]+|[\\n]+", metadata_.path().string()),
                           SplitBehavior::isolated, false));
    BpeOptions options;
    options.byte_fallback = true;
    options.unknown = find_token("tokenizer.ggml.unknown_token_id").value_or(-1);
    Vocabulary vocabulary(ordinary_texts());
    const std::vector<Merge> merges = read_merges(vocabulary);
    parts_.model = make_bpe(std::move(vocabulary), merges, options);
    add_bos_ = true;
  }

  // Phi-3's tokens take in the white space behind them, which its GGUF files do not say.
  bool strips_right(const AddedToken& token) const {
    const std::string* architecture = metadata_.find_string("general.architecture");
    if (architecture == nullptr || *architecture != "phi3") return false;
    return token.text != "<unk>" && token.text != "<s>" && token.text != "<|endoftext|>";
  }

  void add_tokens() {
    std::vector<AddedToken> added;
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (!is_special(id) && type_of(id) != kUserDefined) continue;
      AddedToken token;
      token.id = static_cast<int32_t>(id);
      token.text = tokens_[id];
      token.special = is_special(id);
      token.strip_right = strips_right(token);
      added.push_back(std::move(token));
    }
    parts_.added = AddedTokens(std::move(added), parts_.normalizers);
  }

  std::optional<int32_t> find_token(std::string_view key) const {
    const auto id = metadata_.find_int(key);
    if (!id || *id == std::numeric_limits<uint32_t>::max()) return std::nullopt;
    if (*id < 0 || *id >= static_cast<int64_t>(tokens_.size())) {
      refuse(key, fmt::format("is {}, but there are {} tokens", *id, tokens_.size()));
    }
    return static_cast<int32_t>(*id);
  }

  void add_end(int32_t id) {
    if (std::find(parts_.eos.begin(), parts_.eos.end(), id) == parts_.eos.end()) {
      parts_.eos.push_back(id);
    }
  }

  void add_specials() {
    static constexpr std::array<std::pair<const char*, const char*>, 7> kNames = {{
        {"bos_token", "tokenizer.ggml.bos_token_id"},
        {"eos_token", "tokenizer.ggml.eos_token_id"},
        {"unk_token", "tokenizer.ggml.unknown_token_id"},
        {"sep_token", "tokenizer.ggml.seperator_token_id"},  // spelt so in the files
        {"pad_token", "tokenizer.ggml.padding_token_id"},
        {"cls_token", "tokenizer.ggml.cls_token_id"},
        {"mask_token", "tokenizer.ggml.mask_token_id"},
    }};
    for (const auto& [name, key] : kNames) {
      if (const auto id = find_token(key)) {
        parts_.special_texts.emplace_back(name, tokens_[static_cast<size_t>(*id)]);
      }
    }
    const auto bos = find_token("tokenizer.ggml.bos_token_id");
    const auto eos = find_token("tokenizer.ggml.eos_token_id");
    parts_.bos = bos.value_or(-1);
    if (bos && metadata_.find_bool("tokenizer.ggml.add_bos_token").value_or(add_bos_)) {
      parts_.before.push_back(*bos);
    }
    if (eos && metadata_.find_bool("tokenizer.ggml.add_eos_token").value_or(false)) {
      parts_.after.push_back(*eos);
    }
    for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                            "tokenizer.ggml.eom_token_id"}) {
      if (const auto id = find_token(key)) add_end(*id);
    }
    for (const AddedToken& token : parts_.added.all()) {
      const bool ends =
          std::find(kEndTokens.begin(), kEndTokens.end(), token.text) != kEndTokens.end();
      if (ends && token.special) add_end(token.id);
    }
  }

  const GgufMetadata& metadata_;
  const std::vector<std::string>& tokens_;
  const std::vector<int64_t>* types_;
  TokenizerParts parts_;
  bool add_bos_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> make_gguf_tokenizer(const GgufMetadata& metadata) {
  return Builder(metadata).build();
}

}  // namespace dinfer
