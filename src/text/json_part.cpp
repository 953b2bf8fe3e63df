#include "text/json_part.h"

namespace dinfer {

std::optional<JsonPart> JsonPart::find(const char* key) const {
  if (!value_->is_object()) refuse("is not an object");
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return JsonPart(*found, where_ + "." + key);
}

JsonPart JsonPart::get(const char* key) const {
  const auto part = find(key);
  if (!part) refuse(fmt::format("lacks \"{}\"", key));
  return *part;
}

std::vector<JsonPart> JsonPart::items() const {
  if (!value_->is_array()) refuse("is not a list");
  std::vector<JsonPart> parts;
  parts.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) {
    parts.emplace_back((*value_)[i], fmt::format("{}[{}]", where_, i));
  }
  return parts;
}

std::string JsonPart::as_string() const {
  if (!value_->is_string()) refuse("is not a string");
  return value_->get<std::string>();
}

int32_t JsonPart::as_id() const {
  const bool valid = value_->is_number_integer() && *value_ >= 0 && *value_ <= kMaxTokenId;
  if (!valid) refuse(fmt::format("is not a token id from 0 to {}", kMaxTokenId));
  return value_->get<int32_t>();
}

std::string JsonPart::string_or(const char* key, std::string_view otherwise) const {
  const auto part = find(key);
  return part ? part->as_string() : std::string(otherwise);
}

bool JsonPart::flag_or(const char* key, bool otherwise) const {
  const auto part = find(key);
  if (!part) return otherwise;
  if (!part->value().is_boolean()) part->refuse("is not true or false");
  return part->value().get<bool>();
}

}  // namespace dinfer
