#include "server/api_fields.h"

#include <algorithm>
#include <cmath>

#include "server/api_error.h"

namespace dinfer {

namespace {

[[noreturn]] void refuse_value(const std::string& path, const std::string& must,
                               const OrderedJson& got) {
  std::string shown = got.dump(-1, ' ', true, OrderedJson::error_handler_t::replace);
  if (shown.size() > 60) shown = shown.substr(0, 60) + "...";
  throw ApiError::bad_field(path, fmt::format("must be {}, not {}", must, shown));
}

// Whole numbers may come as 5 or 5.0, of any size.
std::optional<int64_t> whole(const OrderedJson& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const auto number = value.get<double>();
  if (std::floor(number) != number || std::abs(number) > 9e15) return std::nullopt;
  return static_cast<int64_t>(number);
}

}  // namespace

ApiFields::ApiFields(const OrderedJson& object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (!object.is_object()) {
    throw ApiError::bad_field(
        where_, fmt::format("{}must be a JSON object, not {}", where_.empty() ? "the body " : "",
                            object.type_name()));
  }
}

std::string ApiFields::path(std::string_view name) const {
  return where_.empty() ? std::string(name) : fmt::format("{}.{}", where_, name);
}

const OrderedJson* ApiFields::find(std::string_view name) {
  const std::string key(name);
  read_.insert(key);
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<double> ApiFields::number(std::string_view name, double low, double high) {
  const OrderedJson* value = find(name);
  if (!value) return std::nullopt;
  if (value->is_number()) {
    const auto number = value->get<double>();
    if (number >= low && number <= high) return number;
  }
  refuse_value(path(name), fmt::format("a number from {} to {}", low, high), *value);
}

std::optional<int64_t> ApiFields::integer(std::string_view name, int64_t low, int64_t high) {
  const OrderedJson* value = find(name);
  if (!value) return std::nullopt;
  const auto number = whole(*value);
  if (number && *number >= low && *number <= high) return number;
  refuse_value(path(name), fmt::format("a whole number from {} to {}", low, high), *value);
}

std::optional<bool> ApiFields::boolean(std::string_view name) {
  const OrderedJson* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) refuse_value(path(name), "true or false", *value);
  return value->get<bool>();
}

std::optional<std::string> ApiFields::text(std::string_view name, size_t longest) {
  const OrderedJson* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_string() || value->get_ref<const std::string&>().size() > longest) {
    refuse_value(path(name), fmt::format("a string of at most {} bytes", longest), *value);
  }
  return value->get<std::string>();
}

std::vector<std::string> ApiFields::texts(std::string_view name, size_t most, size_t longest) {
  const OrderedJson* value = find(name);
  if (!value) return {};
  const OrderedJson list = value->is_string() ? OrderedJson::array({*value}) : *value;
  const auto fits = [&](const OrderedJson& item) {
    return item.is_string() && !item.get_ref<const std::string&>().empty() &&
           item.get_ref<const std::string&>().size() <= longest;
  };
  if (!list.is_array() || list.size() > most || !std::all_of(list.begin(), list.end(), fits)) {
    refuse_value(
        path(name),
        fmt::format("a string, or at most {} strings, each of 1 to {} bytes", most, longest),
        *value);
  }
  return list.get<std::vector<std::string>>();
}

std::vector<int32_t> ApiFields::tokens(std::string_view name, size_t most, int64_t vocab) {
  const OrderedJson* value = find(name);
  return value ? token_ids(*value, path(name), most, vocab) : std::vector<int32_t>();
}

void ApiFields::refuse(std::string_view name, std::string_view why,
                       const std::vector<OrderedJson>& harmless) {
  const OrderedJson* value = find(name);
  if (!value || std::ranges::find(harmless, *value) != harmless.end()) return;
  throw ApiError::bad_field(path(name), std::string(why), "unsupported_parameter");
}

std::vector<std::string> ApiFields::unread() const {
  std::vector<std::string> names;
  for (const auto& [key, value] : object_.items()) {
    if (!value.is_null() && !read_.contains(key)) names.push_back(key);
  }
  return names;
}

std::vector<int32_t> token_ids(const OrderedJson& array, const std::string& path, size_t most,
                               int64_t vocab) {
  if (!array.is_array() || array.size() > most) {
    refuse_value(path, fmt::format("an array of at most {} token ids", most), array);
  }
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (size_t i = 0; i < array.size(); ++i) {
    const auto id = whole(array[i]);
    if (!id || *id < 0 || *id >= vocab) {
      refuse_value(fmt::format("{}[{}]", path, i),
                   fmt::format("a token id from 0 to {}", vocab - 1), array[i]);
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

}  // namespace dinfer
