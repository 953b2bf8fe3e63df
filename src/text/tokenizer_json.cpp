#include "text/tokenizer_json.h"

#include <algorithm>
#include <array>

namespace dinfer {
namespace {

constexpr size_t kAddedTokenBytes = 1024;

constexpr std::array kSpecialNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                      "pad_token", "cls_token", "mask_token"};

AddedToken read_added_token(const JsonPart& part, const Vocabulary& vocabulary) {
  AddedToken token;
  token.text = part.string("content");
  if (token.text.size() > kAddedTokenBytes) {
    part.refuse(fmt::format("an added token of {} bytes is longer than the limit of {}",
                            token.text.size(), kAddedTokenBytes));
  }
  const int32_t known = vocabulary.find(token.text);
  token.id = known >= 0 ? known : part.get("id").as_id();
  token.special = part.flag_or("special", false);
  token.normalized = part.flag_or("normalized", !token.special);
  token.strip_left = part.flag_or("lstrip", false);
  token.strip_right = part.flag_or("rstrip", false);
  token.single_word = part.flag_or("single_word", false);
  return token;
}

// Ids that a "single" template names before and behind its sequence A.
void read_template(const JsonPart& part, TokenizerParts& parts) {
  const JsonPart specials = part.get("special_tokens");
  bool behind = false;
  for (const JsonPart& item : part.get("single").items()) {
    if (const auto sequence = item.find("Sequence")) {
      if (behind || sequence->string("id") != "A") item.refuse("is not one sequence A");
      behind = true;
      continue;
    }
    const std::string name = item.get("SpecialToken").string("id");
    for (const JsonPart& id : specials.get(name.c_str()).get("ids").items()) {
      (behind ? parts.after : parts.before).push_back(id.as_id());
    }
  }
  if (!behind) part.refuse("the template \"single\" has no sequence A");
}

// Whether a template decides which tokens stand around a text.
bool read_post_processor(const JsonPart& part, TokenizerParts& parts) {
  const std::string type = part.string("type");
  if (type == "TemplateProcessing") {
    read_template(part, parts);
    return true;
  }
  if (type == "ByteLevel") return false;  // it only moves offsets
  if (type != "Sequence")
    part.refuse_kind("post-processor", type, "TemplateProcessing, ByteLevel and Sequence");
  bool decides = false;
  for (const JsonPart& inner : part.get("processors").items()) {
    if (inner.string("type") == "Sequence")
      inner.refuse("a sequence in a sequence is not supported");
    const bool is_template = read_post_processor(inner, parts);
    if (is_template && decides) inner.refuse("a second template is not supported");
    decides |= is_template;
  }
  return decides;
}

int32_t find_id(const TokenizerParts& parts, std::string_view text) {
  for (const AddedToken& token : parts.added.all()) {
    if (token.text == text) return token.id;
  }
  return parts.model->vocabulary().find(text);
}

int32_t find_special(const TokenizerParts& parts, std::string_view name) {
  for (const auto& [known, text] : parts.special_texts) {
    if (known == name) return find_id(parts, text);
  }
  return -1;
}

void apply_config(const TokenizerConfig& config, bool template_decides, TokenizerParts& parts) {
  parts.special_texts = config.special_texts;
  parts.bos = find_special(parts, "bos_token");
  const int32_t eos = find_special(parts, "eos_token");
  parts.eos = config.eos;
  if (eos >= 0 && std::find(parts.eos.begin(), parts.eos.end(), eos) == parts.eos.end()) {
    parts.eos.push_back(eos);
  }
  if (template_decides) return;
  if (config.add_bos && parts.bos >= 0) parts.before.push_back(parts.bos);
  if (config.add_eos && eos >= 0) parts.after.push_back(eos);
}

void check_ids(const JsonPart& file, const TokenizerParts& parts, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) {
    const bool known =
        parts.added.find(id) != nullptr ||
        (id < parts.model->vocabulary().size() && !parts.model->vocabulary().text(id).empty());
    if (!known)
      file.refuse(fmt::format("the post-processor names the id {}, which is no token", id));
  }
}

}  // namespace

void read_tokenizer_config(const JsonPart& config, TokenizerConfig& result) {
  for (const char* name : kSpecialNames) {
    const auto token = config.find(name);
    if (!token) continue;
    const bool known = std::any_of(result.special_texts.begin(), result.special_texts.end(),
                                   [&](const auto& special) { return special.first == name; });
    if (known) continue;
    result.special_texts.emplace_back(
        name, token->value().is_object() ? token->string("content") : token->as_string());
  }
  result.add_bos = config.flag_or("add_bos_token", result.add_bos);
  result.add_eos = config.flag_or("add_eos_token", result.add_eos);
}

std::unique_ptr<Tokenizer> parse_tokenizer_json(std::string_view text, std::string_view where,
                                                const TokenizerConfig& config) {
  const Json json = parse_json(text, where, ExitCode::model_files);
  const JsonPart file(json, std::string(where));
  TokenizerParts parts;
  const JsonPart model = file.get("model");
  Vocabulary vocabulary = read_vocabulary(model);
  std::vector<AddedToken> added;
  if (const auto part = file.find("added_tokens")) {
    for (const JsonPart& item : part->items()) added.push_back(read_added_token(item, vocabulary));
  }
  parts.model = read_token_model(model, std::move(vocabulary), added);
  if (const auto part = file.find("normalizer")) read_normalizer(*part, parts.normalizers);
  if (const auto part = file.find("pre_tokenizer")) read_pre_tokenizer(*part, parts.pre_tokenizers);
  if (const auto part = file.find("decoder")) {
    read_decoder(*part, parts.decoders);
  } else {
    parts.separator.push_back(' ');
  }
  parts.added = AddedTokens(std::move(added), parts.normalizers);
  const auto processor = file.find("post_processor");
  const bool decides = processor && read_post_processor(*processor, parts);
  check_ids(file, parts, parts.before);
  check_ids(file, parts, parts.after);
  apply_config(config, decides, parts);
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

}  // namespace dinfer
