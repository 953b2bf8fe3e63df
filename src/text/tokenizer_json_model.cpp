#include <algorithm>
#include <unordered_set>

#include "text/tokenizer_json.h"

namespace dinfer {
namespace {

// A merge is "left right", or ["left", "right"] in newer files.
std::pair<std::string_view, std::string_view> read_merge(const JsonPart& part, const Json& merge) {
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
             merge[1].is_string()) {
    return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
  }
  part.refuse("holds something that is not a pair of tokens");
}

std::vector<Merge> read_merges(const JsonPart& part, const Vocabulary& vocabulary,
                               const std::unordered_set<int32_t>& special) {
  if (!part.value().is_array()) part.refuse("is not a list");
  std::vector<Merge> merges;
  merges.reserve(part.value().size());
  std::string joined;
  for (const Json& merge : part.value()) {
    const auto [left, right] = read_merge(part, merge);
    joined.assign(left).append(right);
    const Merge ids{vocabulary.find(left), vocabulary.find(right), vocabulary.find(joined)};
    if (ids.left < 0 || ids.right < 0 || ids.merged < 0) {
      part.refuse(fmt::format("merges \"{}\" and \"{}\", of which one or their union is no token",
                              left, right));
    }
    if (!special.contains(ids.merged)) merges.push_back(ids);
  }
  return merges;
}

void refuse_unless_empty(const JsonPart& part, const char* key) {
  if (!part.string_or(key, "").empty()) part.refuse(fmt::format("{} is not supported", key));
}

}  // namespace

Vocabulary read_vocabulary(const JsonPart& model) {
  // Files from before 2020 have no "type"; only BPE models have merges.
  const std::string type = model.string_or("type", model.find("merges") ? "BPE" : "");
  if (type != "BPE") model.refuse(fmt::format("the model \"{}\" is not supported: BPE is", type));
  const JsonPart part = model.get("vocab");
  if (!part.value().is_object()) part.refuse("is not an object");
  const auto& entries = part.value().get_ref<const Json::object_t&>();
  uint64_t size = 0;
  for (const auto& [text, id] : entries) {
    if (!id.is_number_integer() || id < 0 || id > JsonPart::kMaxTokenId) {
      part.refuse(fmt::format("the id of token \"{}\" is not a number from 0 to {}", text,
                              JsonPart::kMaxTokenId));
    }
    size = std::max(size, id.get<uint64_t>() + 1);
  }
  std::vector<std::string> texts(size);
  for (const auto& [text, id] : entries) {
    std::string& slot = texts[id.get<uint64_t>()];
    if (!slot.empty()) {
      part.refuse(fmt::format("tokens \"{}\" and \"{}\" have the same id {}", slot, text,
                              id.get<uint64_t>()));
    }
    slot = text;
  }
  return Vocabulary(std::move(texts));
}

std::unique_ptr<TokenModel> read_token_model(const JsonPart& model, Vocabulary vocabulary,
                                             const std::vector<AddedToken>& added) {
  refuse_unless_empty(model, "continuing_subword_prefix");
  refuse_unless_empty(model, "end_of_word_suffix");
  const auto dropout = model.find("dropout");
  if (dropout && dropout->value() != 0.0) dropout->refuse("dropout is not supported");
  std::unordered_set<int32_t> special;
  for (const AddedToken& token : added) {
    if (token.special) special.insert(token.id);
  }
  const std::vector<Merge> merges = read_merges(model.get("merges"), vocabulary, special);
  BpeOptions options;
  options.byte_fallback = model.flag_or("byte_fallback", false);
  options.ignore_merges = model.flag_or("ignore_merges", false);
  options.fuse_unknown = model.flag_or("fuse_unk", false);
  if (const auto unknown = model.find("unk_token")) {
    options.unknown = vocabulary.find(unknown->as_string());
    if (options.unknown < 0) unknown->refuse("is no token of the vocabulary");
  }
  for (const int32_t id : special) {
    if (id < vocabulary.size()) vocabulary.hide(id);
  }
  return make_bpe(std::move(vocabulary), merges, options);
}

}  // namespace dinfer
