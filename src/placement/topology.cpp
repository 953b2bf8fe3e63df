#include "placement/topology.h"

#include <algorithm>
#include <map>
#include <string_view>

#include <fmt/ranges.h>
#include <re2/re2.h>
#include <yaml-cpp/yaml.h>

#include "base/error.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/whole_number.h"
#include "placement/topology_names.h"

namespace dinfer {
namespace {

constexpr uint64_t kMostBytes = 1 << 20;
constexpr size_t kMostEntries = 1024;
constexpr int kMostLayer = 1 << 20;
constexpr int64_t kPatternMemory = 1 << 20;  // bytes of a compiled regular expression

constexpr std::string_view kSelectors =
    "0-8 (layers 0 to 7), 5 (one layer) or /regex/ on weight names";

// Errors of one file, by line.
class Place {
 public:
  Place(const std::string& file, const YAML::Mark& mark)
      : file_(file), line_(std::max(0, mark.line) + 1) {}

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ExitCode::config, "{}:{}: {}", file_, line_,
         fmt::format(format, std::forward<Args>(args)...));
  }
  int line() const { return line_; }

 private:
  const std::string& file_;
  int line_;
};

std::shared_ptr<const re2::RE2> compile(std::string_view pattern, const Place& place) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kPatternMemory);
  auto compiled =
      std::make_shared<const re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
  if (!compiled->ok())
    place.refuse("/{}/ is no regular expression: {}", pattern, compiled->error());
  return compiled;
}

Range layers_of(std::string_view selector, const Place& place) {
  const size_t dash = selector.find('-');
  const auto begin = whole_number(selector.substr(0, dash), kMostLayer);
  const auto end =
      dash == std::string_view::npos ? begin : whole_number(selector.substr(dash + 1), kMostLayer);
  if (!begin || !end)
    place.refuse("the selector \"{}\" is not of the form {}", selector, kSelectors);
  if (dash == std::string_view::npos) return {*begin, *begin + 1};
  if (*end <= *begin) {
    place.refuse(
        "the selector {} holds no layer: its end, which is exclusive, must be above its "
        "start, as in {}-{}",
        selector, *begin, *begin + 1);
  }
  return {*begin, *end};
}

void read_selector(TopologyEntry& entry, const Place& place) {
  const std::string_view selector = entry.selector;
  if (!selector.starts_with('/')) {
    entry.layers = layers_of(selector, place);
  } else if (selector.size() < 3 || !selector.ends_with('/')) {
    place.refuse("the selector \"{}\" is no regular expression between two slashes, as in {}",
                 selector, "/mlp/");
  } else {
    entry.pattern = compile(selector.substr(1, selector.size() - 2), place);
  }
}

DeviceName device_of(const std::string& text, const Place& place) {
  if (text == "cpu") return {.cpu = true};
  if (text.starts_with("cuda[") && text.ends_with("]")) {
    if (const auto ordinal = whole_number(std::string_view(text).substr(5, text.size() - 6), 65535))
      return {.ordinal = *ordinal};
  }
  place.refuse("\"{}\" is no device: cuda[0], cuda[1], ... or cpu", text);
}

QuantSpec quant_of(const std::string& text, const Place& place) {
  if (const auto spec = quantization_named(text)) return *spec;
  const std::string meant = nearest(text, quantization_names());
  place.refuse("isq \"{}\" is unknown{}; known: {}", text,
               meant.empty() ? "" : fmt::format("; did you mean {}?", meant),
               fmt::join(quantization_names(), ", "));
}

void read_value(TopologyEntry& entry, const std::string& key, const YAML::Node& value,
                const Place& place) {
  static const std::vector<std::string> known{"device", "isq"};
  if (key != "device" && key != "isq") {
    const std::string meant = nearest(key, known);
    place.refuse("the key \"{}\" of selector {} is unknown{}; known: device, isq", key,
                 entry.selector, meant.empty() ? "" : fmt::format("; did you mean {}?", meant));
  }
  if (!value.IsScalar())
    place.refuse("{} of selector {} must be one value, as in {}", key, entry.selector,
                 key == "isq" ? "isq: 4" : "device: cuda[0]");
  if (key == "device" ? entry.device.has_value() : entry.quant.has_value())
    place.refuse("selector {} has {} twice", entry.selector, key);
  if (key == "device")
    entry.device = device_of(value.Scalar(), place);
  else
    entry.quant = quant_of(value.Scalar(), place);
}

TopologyEntry read_entry(const YAML::Node& selector, const YAML::Node& values,
                         const std::string& file) {
  const Place place(file, selector.Mark());
  if (!selector.IsScalar()) place.refuse("a selector is one of {}", kSelectors);
  TopologyEntry entry{.selector = selector.Scalar(), .line = place.line()};
  read_selector(entry, place);
  if (!values.IsMap() || values.size() == 0) {
    place.refuse(
        "selector {} must have device, isq or both below it, as in {}: {{device: \"cuda[0]\", "
        "isq: 4}}",
        entry.selector, entry.selector);
  }
  for (const auto& value : values) {
    const Place at(file, value.first.Mark());
    if (!value.first.IsScalar()) at.refuse("a key is device or isq");
    read_value(entry, value.first.Scalar(), value.second, at);
  }
  return entry;
}

YAML::Node parse_yaml(const std::string& text, const std::string& file) {
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1)
      Place(file, documents[1].Mark())
          .refuse("a topology is one YAML document, a second begins here");
    return documents.empty() ? YAML::Node() : documents[0];
  } catch (const YAML::Exception& error) {
    Place(file, error.mark)
        .refuse("no valid YAML: {} (inside braces, put cuda[0] in quotes)", error.msg);
  }
}

}  // namespace

Topology parse_topology(const std::string& text, const std::string& file) {
  const YAML::Node root = parse_yaml(text, file);
  if (!root.IsMap() || root.size() == 0) {
    Place(file, root.Mark())
        .refuse("a topology is a map of selectors, {}, as in 0-8: {{device: \"cuda[0]\"}}",
                kSelectors);
  }
  if (root.size() > kMostEntries)
    Place(file, root.Mark()).refuse("{} selectors, at most {} are read", root.size(), kMostEntries);
  Topology topology{.file = file};
  std::map<std::string, int> lines;  // of selectors
  for (const auto& item : root) {
    TopologyEntry entry = read_entry(item.first, item.second, file);
    const auto [first, is_new] = lines.emplace(entry.selector, entry.line);
    if (!is_new) {
      Place(file, item.first.Mark())
          .refuse("selector {} stands in line {} already: put all that it says in one place",
                  entry.selector, first->second);
    }
    topology.entries.push_back(std::move(entry));
  }
  return topology;
}

Topology read_topology(const std::filesystem::path& path) {
  std::string text;
  try {
    text = read_text_file(path, kMostBytes);
  } catch (const Error& error) {
    fail(ExitCode::config, "--topology {}", error.what());
  }
  return parse_topology(text, path.string());
}

}  // namespace dinfer
