#include "bootstrap/agree.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>

#include <fmt/ranges.h>

#include "base/json.h"

namespace dinfer {
namespace {

// Time that the head has to print the differences and end the job before the others speak.
constexpr std::chrono::seconds kHeadSpeaks{2};

using RankList = std::vector<int>;  // ascending

Bytes encode(const RankFacts& mine) {
  const std::string text = Json{{"host", mine.host}, {"facts", mine.facts}}.dump(
      -1, ' ', true, Json::error_handler_t::replace);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

RankFacts decode(const Bytes& message, int rank) {
  const std::string_view text(reinterpret_cast<const char*>(message.data()), message.size());
  const std::string where = fmt::format("facts of rank {}", rank);
  const Json json = parse_json(text, where, ExitCode::config);
  try {
    return {.host = json.at("host").get<std::string>(), .facts = json.at("facts").get<Facts>()};
  } catch (const Json::exception& error) {
    fail(ExitCode::config, "{}: {}: do all ranks run the same dinfer?", where, error.what());
  }
}

std::string describe_group(const std::string& value, const RankList& group,
                           const std::vector<RankFacts>& ranks, bool with_hosts) {
  std::string text =
      fmt::format("{} on rank{} {}", value, group.size() > 1 ? "s" : "", list_ranks(group));
  if (!with_hosts) return text;
  std::set<std::string> hosts;
  for (const int rank : group) hosts.insert(ranks[rank].host);
  return text + fmt::format(" ({})", fmt::join(hosts, ", "));
}

// Names of facts, each once, in the order in which ranks state them.
std::vector<std::string> names_of(const std::vector<RankFacts>& ranks) {
  std::vector<std::string> names;
  for (const RankFacts& rank : ranks)
    for (const auto& [name, value] : rank.facts)
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  return names;
}

std::string value_of(const RankFacts& rank, const std::string& name) {
  const auto fact = std::ranges::find(rank.facts, name, &Facts::value_type::first);
  return fact == rank.facts.end() ? "not stated" : fact->second;
}

}  // namespace

std::string list_ranks(const std::vector<int>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size();) {
    size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ",", ranks[i]);
    if (last > i) text += fmt::format("-{}", ranks[last]);
    i = last + 1;
  }
  return text;
}

std::string describe_differences(const std::vector<RankFacts>& ranks) {
  std::vector<std::string> lines;
  for (const std::string& name : names_of(ranks)) {
    std::map<std::string, RankList> by_value;
    for (size_t r = 0; r < ranks.size(); ++r)
      by_value[value_of(ranks[r], name)].push_back(static_cast<int>(r));
    if (by_value.size() == 1) continue;
    std::vector<std::pair<std::string, RankList>> groups(by_value.begin(), by_value.end());
    std::ranges::stable_sort(groups, [](const auto& a, const auto& b) {
      return a.second.size() != b.second.size() ? a.second.size() > b.second.size()
                                                : a.second.front() < b.second.front();
    });
    // The largest group is the rule; hosts help to find the exceptions.
    std::vector<std::string> texts;
    for (const auto& [value, group] : groups)
      texts.push_back(describe_group(value, group, ranks, !texts.empty()));
    lines.push_back(fmt::format("  {}: {}", name, fmt::join(texts, "; ")));
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

void agree(ControlPlane& control, const World& world, const Facts& facts, Deadline deadline) {
  const std::vector<Bytes> messages =
      control.all_gather(encode({.host = world.host, .facts = facts}), deadline);
  std::vector<RankFacts> ranks;
  for (const Bytes& message : messages)
    ranks.push_back(decode(message, static_cast<int>(ranks.size())));
  const std::string differences = describe_differences(ranks);
  if (differences.empty()) return;
  if (control.rank() == 0)
    fail(ExitCode::config,
         "the ranks disagree; start all of them with the same dinfer, options and model:\n{}",
         differences);
  try {
    control.barrier(Deadline::after(kHeadSpeaks));
  } catch (const Error&) {
    // The head does not come: it ends the job.
  }
  fail(ExitCode::config, "the ranks disagree: rank 0 tells how");
}

}  // namespace dinfer
