#include "base/json.h"

#include <set>
#include <string>
#include <vector>

namespace dinfer {

namespace {

// Reads the text once before any tree is built: limits and duplicate keys.
class LimitCheck : public nlohmann::json_sax<Json> {
 public:
  explicit LimitCheck(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(number_integer_t) override { return value(); }
  bool number_unsigned(number_unsigned_t) override { return value(); }
  bool number_float(number_float_t, const string_t&) override { return value(); }
  bool string(string_t&) override { return value(); }
  bool binary(binary_t&) override { return value(); }
  bool start_object(size_t) override { keys_.emplace_back(); return enter(); }
  bool end_object() override { keys_.pop_back(); --depth_; return true; }
  bool start_array(size_t) override { return enter(); }
  bool end_array() override { --depth_; return true; }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    error_ = fmt::format("key \"{}\" stands twice in one object", name.substr(0, 80));
    return false;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    error_ = fmt::format("not valid JSON at byte {}: {}", position, e.what());
    return false;
  }

  const std::string& error() const { return error_; }

 private:
  bool enter() {
    if (++depth_ <= limits_.depth) return value();
    error_ = fmt::format("nested deeper than {} levels", limits_.depth);
    return false;
  }
  bool value() {
    if (++values_ <= limits_.values) return true;
    error_ = fmt::format("more than {} values", limits_.values);
    return false;
  }

  JsonLimits limits_;
  int depth_ = 0;
  uint64_t values_ = 0;
  std::vector<std::set<std::string>> keys_;
  std::string error_;
};

template <class Value>
Value parse(std::string_view text, std::string_view where, ExitCode code, const JsonLimits& limits) {
  LimitCheck checker(limits);
  if (!Json::sax_parse(text, &checker)) fail(code, "{}: {}", where, checker.error());
  try {
    return Value::parse(text);
  } catch (const nlohmann::json::exception& e) {
    fail(code, "{}: not valid JSON: {}", where, e.what());
  }
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where, ExitCode code, const JsonLimits& limits) {
  return parse<Json>(text, where, code, limits);
}

OrderedJson parse_ordered_json(std::string_view text, std::string_view where, ExitCode code,
                               const JsonLimits& limits) {
  return parse<OrderedJson>(text, where, code, limits);
}

}  // namespace dinfer
