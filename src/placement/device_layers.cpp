#include "placement/device_layers.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/whole_number.h"

namespace dinfer {
namespace {

struct Share {
  DeviceName device;
  int64_t layers = 0;
};

constexpr int64_t kMostLayers = int64_t{1} << 40;  // sums of a list's entries cannot overflow
constexpr size_t kMostEntries = 4096;

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

std::vector<std::string_view> entries_of(std::string_view text) {
  std::vector<std::string_view> entries;
  for (size_t from = 0; from <= text.size();) {
    const size_t end = std::min(text.find(';', from), text.size());
    entries.push_back(trimmed(text.substr(from, end - from)));
    from = end + 1;
  }
  return entries;
}

std::optional<Share> parse_share(std::string_view entry) {
  const size_t colon = entry.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view device = trimmed(entry.substr(0, colon));
  const auto layers = whole_number(trimmed(entry.substr(colon + 1)), kMostLayers);
  if (!layers) return std::nullopt;
  if (device == "cpu") return Share{{.cpu = true}, *layers};
  const auto ordinal = whole_number(device, 65535);
  if (!ordinal) return std::nullopt;
  return Share{{.ordinal = *ordinal}, *layers};
}

int64_t sum_of(const std::vector<Share>& shares) {
  return std::accumulate(shares.begin(), shares.end(), int64_t{0},
                         [](int64_t sum, const Share& share) { return sum + share.layers; });
}

std::string list_of(const std::vector<Share>& shares) {
  std::vector<std::string> entries;
  for (const Share& share : shares) {
    entries.push_back(fmt::format(
        "{}:{}", share.device.cpu ? "cpu" : fmt::to_string(share.device.ordinal), share.layers));
  }
  return fmt::format("{}", fmt::join(entries, ";"));
}

// The list most like the one given that is right for the model: each device once, the last ones
// with more or fewer layers.
std::string corrected(const std::vector<Share>& given, int64_t layers) {
  std::vector<Share> shares;
  for (const Share& share : given) {
    if (share.layers == 0) continue;
    const auto same = std::ranges::find(shares, share.device, &Share::device);
    if (same == shares.end())
      shares.push_back(share);
    else
      same->layers += share.layers;
  }
  if (shares.empty()) shares.push_back({given.empty() ? DeviceName{} : given[0].device, layers});
  shares.resize(std::min(shares.size(), static_cast<size_t>(layers)));
  int64_t left = layers;
  for (size_t i = 0; i < shares.size(); ++i) {
    const auto others = static_cast<int64_t>(shares.size() - 1 - i);  // a layer each at least
    shares[i].layers = others == 0 ? left : std::min(shares[i].layers, left - others);
    left -= shares[i].layers;
  }
  return list_of(shares);
}

[[noreturn]] void fail_syntax(const std::string& text, std::string_view entry,
                              const ModelConfig& config) {
  const std::vector<Share> example =
      config.layers > 1 ? std::vector<Share>{{{.ordinal = 0}, config.layers - config.layers / 2},
                                             {{.ordinal = 1}, config.layers / 2}}
                        : std::vector<Share>{{{.ordinal = 0}, config.layers}};
  fail(ExitCode::usage,
       "-n \"{}\": \"{}\" is not ORD:NUM, the number of a device (or cpu) and how many layers it "
       "gets; for this model's {} layers for example: -n \"{}\"",
       text, entry, config.layers, list_of(example));
}

std::vector<Share> parse_shares(const std::string& text, const ModelConfig& config) {
  std::vector<Share> shares;
  for (const std::string_view entry : entries_of(text)) {
    const std::optional<Share> share = parse_share(entry);
    if (!share || shares.size() == kMostEntries) fail_syntax(text, entry, config);
    shares.push_back(*share);
  }
  return shares;
}

void check_shares(const std::string& text, const std::vector<Share>& shares,
                  const ModelConfig& config) {
  for (size_t i = 0; i < shares.size(); ++i) {
    const std::string name = shares[i].device.text();
    if (shares[i].layers == 0) {
      fail(ExitCode::usage, "-n \"{}\": {} gets no layer; leave it out, or give it some: -n \"{}\"",
           text, name, corrected(shares, config.layers));
    }
    for (size_t j = 0; j < i; ++j) {
      if (shares[i].device == shares[j].device) {
        fail(ExitCode::usage,
             "-n \"{}\": {} is there twice, but a device owns one run of layers: -n \"{}\"", text,
             name, corrected(shares, config.layers));
      }
    }
  }
  const int64_t sum = sum_of(shares);
  if (sum == config.layers) return;
  const bool has_cpu = std::ranges::any_of(shares, [](const Share& s) { return s.device.cpu; });
  std::string also;
  if (sum < config.layers && !has_cpu) {
    std::vector<Share> offloaded = shares;
    offloaded.push_back({{.cpu = true}, config.layers - sum});
    also = fmt::format(", or, with the rest on the CPU, -n \"{}\"", list_of(offloaded));
  }
  fail(ExitCode::config, "-n \"{}\" places {} layers, the model has {}: -n \"{}\"{}", text, sum,
       config.layers, corrected(shares, config.layers), also);
}

}  // namespace

DeviceMap map_device_layers(const std::string& text, const ModelConfig& config) {
  const std::vector<Share> shares = parse_shares(text, config);
  check_shares(text, shares, config);
  std::vector<DeviceName> by_unit{shares.front().device};
  for (const Share& share : shares)
    by_unit.insert(by_unit.end(), static_cast<size_t>(2 * share.layers), share.device);
  by_unit.push_back(shares.back().device);
  return make_device_map(by_unit, "-n");
}

}  // namespace dinfer
