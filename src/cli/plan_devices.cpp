#include "cli/plan_devices.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <string_view>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/nearest.h"
#include "base/whole_number.h"
#include "cli/plan_cpu.h"
#include "cli/start_cores.h"
#include "cli/start_layout.h"
#include "device/cpu_device.h"
#include "device/device.h"
#include "factory.h"
#include "placement/memory_limits.h"

namespace dinfer {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

// Products of codes, as a share of the rate of bf16.
constexpr double kGpuCodeTflops = 0.72;

// Of a GPU's memory, taken by the driver's context, kernels and what ranks talk through.
constexpr uint64_t kTaken = 700 * kMiB;

constexpr int64_t kMostCount = 1 << 24;  // products of two cannot overflow

struct Kind {
  std::string_view name;
  int64_t memory_mib;
  double read_gb_s;
  double tflops;
  bool linked, hopper, measured;
};

// H200: measured (docs/BENCHMARKS.md; products under load 650 of nominal 990 TFLOP/s). The others:
// memory as nvidia-smi tells, 93% of the data sheet's bandwidth and 65% of its dense bf16 rate, the
// shares that the H200 reaches. A name that holds another one stands before it.
constexpr auto kKinds = std::to_array<Kind>({
    {"GH200", 97871, 3720, 640, true, true, false},
    {"H200", 143771, 4460, 650, true, true, true},
    {"H100", 81559, 3115, 640, true, true, false},
    {"H20", 97871, 3720, 96, true, true, false},
    {"B200", 183359, 7440, 1460, true, false, false},
    {"A100-80GB", 81920, 1896, 203, true, false, false},
    {"A100", 40960, 1446, 203, true, false, false},
    {"A10", 23028, 558, 81, false, false, false},
    {"L40S", 46068, 803, 235, false, false, false},
    {"L4", 23034, 279, 79, false, false, false},
    {"RTX-4090", 24564, 937, 107, false, false, false},
    {"RTX-3090", 24576, 870, 46, false, false, false},
});

// A CPU of which nothing is known but that it is a server's: for offload.
constexpr double kCpuReadGbS = 100;
constexpr double kCpuTflops = 1.4, kCpuCodeTflops = 2;
constexpr uint64_t kCpuMemory = 256 * kGiB;

bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

DeviceKindSpec spec_of(const Kind& kind) {
  return {.name = std::string(kind.name),
          .memory = static_cast<uint64_t>(kind.memory_mib) * kMiB,
          .read_gb_s = kind.read_gb_s,
          .tflops = kind.tflops,
          .code_tflops = kGpuCodeTflops * kind.tflops,
          .linked = kind.linked,
          .hopper = kind.hopper,
          .measured = kind.measured};
}

DeviceKindSpec server_cpu() {
  return {.name = "CPU",
          .memory = kCpuMemory,
          .read_gb_s = kCpuReadGbS,
          .tflops = kCpuTflops,
          .code_tflops = kCpuCodeTflops,
          .cpu = true};
}

// How many ranks options ask for, where there is no GPU.
int cpu_ranks(const Options& options, const ModelConfig& config) {
  int64_t asked =
      int64_t{std::max(options.tp, 1)} * std::max(options.pp, 1) * std::max(options.dp, 1);
  if (const auto map = manual_map(options, config)) asked = std::ssize(map->devices);
  if (asked > kMostDevices)
    fail(ExitCode::usage, "{} ranks were asked for, at most {} are planned", asked, kMostDevices);
  return static_cast<int>(asked);
}

// One of so many ranks of this host's CPU, each with `threads` of them; 0: its share of the cores.
DeviceKindSpec cpu_rank(int threads, int ranks, int cores) {
  const int fair = std::max(1, cores / ranks);
  const int own = threads > 0 ? std::min(threads, fair) : fair;
  const CpuRates rates = measure_cpu(own, ranks, cores);
  DeviceKindSpec kind = server_cpu();
  kind.memory = make_cpu_device({})->free_memory() / static_cast<uint64_t>(ranks);
  kind.read_gb_s = rates.share_gb_s;
  kind.alone_gb_s = rates.alone_gb_s;
  kind.sharers = ranks;
  kind.tflops = rates.tflops;
  kind.code_tflops = rates.code_tflops;
  kind.measured = true;
  return kind;
}

std::string count_text(int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

// Whether a driver's name for a GPU ("NVIDIA A100-SXM4-80GB") has all parts of a kind's.
bool has_parts(std::string_view name, std::string_view kind) {
  for (size_t from = 0; from < kind.size();) {
    const size_t end = std::min(kind.find('-', from), kind.size());
    if (name.find(kind.substr(from, end - from)) == std::string_view::npos) return false;
    from = end + 1;
  }
  return true;
}

std::vector<std::string> visible_gpus() {
  const OrderedJson cuda = describe_build().at("cuda");
  if (cuda.is_null()) return {};
  return cuda.at("gpus");
}

bool finds_nccl() {
  const OrderedJson nccl = describe_build().at("nccl");
  return !nccl.is_null() && !nccl.at("found").is_null();
}

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  names.emplace_back("cpu");
  return names;
}

std::optional<DeviceKindSpec> kind_named(std::string_view name) {
  if (same_name(name, "cpu")) return server_cpu();
  for (const Kind& kind : kKinds)
    if (same_name(name, kind.name)) return spec_of(kind);
  return std::nullopt;
}

std::optional<int64_t> count_of(std::string_view text) {
  const auto count = whole_number(text, kMostCount);
  return count == 0 ? std::nullopt : count;
}

// "40GiB"
std::optional<uint64_t> memory_of(std::string_view text) {
  if (!text.ends_with("GiB")) return std::nullopt;
  const auto count = count_of(text.substr(0, text.size() - 3));
  if (!count) return std::nullopt;
  return static_cast<uint64_t>(*count) * kGiB;
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(' ');
  return begin == std::string_view::npos
             ? ""
             : text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

struct Item {
  int64_t nodes = 1;
  int64_t count = 1;
  DeviceKindSpec kind;
};

// COUNTx, taken off the front of `text`; none where it does not begin so.
std::optional<int64_t> take_count(std::string_view& text) {
  const size_t x = text.find_first_of("xX");
  if (x == std::string_view::npos || x == 0) return std::nullopt;
  const auto count = count_of(text.substr(0, x));
  if (count) text.remove_prefix(x + 1);
  return count;
}

Item parse_item(const std::string& all, std::string_view text) {
  Item item;
  std::string_view rest = text;
  if (const auto first = take_count(rest)) {
    item.count = *first;
    if (const auto second = take_count(rest)) {
      item.nodes = *first;
      item.count = *second;
    }
  }
  const size_t colon = std::min(rest.find(':'), rest.size());
  const std::string name(rest.substr(0, colon));
  const auto kind = kind_named(name);
  if (!kind) {
    const std::string meant = nearest(name, kind_names());
    fail(ExitCode::usage,
         "--devices {}: \"{}\" is not KIND, COUNTxKIND or NODESxCOUNTxKIND of a known kind{}; "
         "kinds: {}; for example --devices 2xH100,1xA100",
         all, text, meant.empty() ? "" : fmt::format(" (did you mean {}?)", meant),
         fmt::join(kind_names(), ", "));
  }
  item.kind = *kind;
  if (colon < rest.size()) {
    const auto memory = memory_of(rest.substr(colon + 1));
    if (!memory)
      fail(ExitCode::usage,
           "--devices {}: the memory of {} must be a whole number of GiB, as in {}", all, name,
           "H100:40GiB");
    item.kind.memory = *memory;
  }
  return item;
}

PlannedDevice device_of(const DeviceKindSpec& kind, int node) {
  const uint64_t taken = kind.cpu ? kind.memory / 20 : kTaken;
  return {.kind = kind, .node = node, .free = kind.memory - std::min(taken, kind.memory)};
}

void check_machines(const std::string& text, const PlannedMachines& machines, int64_t count) {
  if (count > kMostDevices)
    fail(ExitCode::usage, "--devices {}: {} devices, at most {} are planned", text, count,
         kMostDevices);
  const auto cpus =
      std::ranges::count_if(machines.devices, [](const PlannedDevice& d) { return d.kind.cpu; });
  const bool offload = cpus > 0 && machines.gpus() > 0;
  if (offload && (cpus > 1 || machines.nodes > 1))
    fail(ExitCode::usage,
         "--devices {}: CPUs: {}, nodes with GPUs: {}; give one CPU beside GPUs of one node, for "
         "example 4xA100,cpu:256GiB",
         text, cpus, machines.nodes);
}

}  // namespace

int PlannedMachines::gpus() const {
  return static_cast<int>(
      std::ranges::count_if(devices, [](const PlannedDevice& d) { return !d.kind.cpu; }));
}

PlannedMachines parse_devices(const std::string& text) {
  PlannedMachines machines;
  std::vector<std::string> words;
  int64_t count = 0;
  int node = 0;
  for (size_t from = 0; from <= text.size();) {
    const size_t end = std::min(text.find(',', from), text.size());
    const Item item = parse_item(text, trimmed(std::string_view(text).substr(from, end - from)));
    count += item.nodes * item.count;
    if (count > kMostDevices) break;
    // Devices of items without nodes of their own share the first one.
    for (int n = 0; n < static_cast<int>(item.nodes); ++n) {
      if (item.nodes > 1 && !machines.devices.empty() && n == 0) node = machines.nodes;
      const int at = item.nodes > 1 ? node + n : 0;
      for (int64_t i = 0; i < item.count; ++i) machines.devices.push_back(device_of(item.kind, at));
      machines.nodes = std::max(machines.nodes, at + 1);
    }
    words.push_back(item.nodes > 1
                        ? fmt::format("{} nodes of {} x {}", item.nodes, item.count, item.kind.name)
                        : fmt::format("{} x {}", item.count, item.kind.name));
    from = end + 1;
  }
  check_machines(text, machines, count);
  std::ranges::stable_sort(machines.devices, [](const PlannedDevice& a, const PlannedDevice& b) {
    return std::pair(a.node, a.kind.cpu) < std::pair(b.node, b.kind.cpu);
  });
  machines.text = fmt::format("{}", fmt::join(words, ", "));
  return machines;
}

void limit_memory(PlannedMachines& machines, const std::string& limits) {
  const bool gpus = machines.gpus() > 0;
  std::map<int, int> seen;  // devices with numbers, by node
  std::vector<std::string> names;
  for (PlannedDevice& device : machines.devices) {
    DeviceName name{.cpu = gpus && device.kind.cpu};
    if (!name.cpu) name.ordinal = seen[device.node]++;
    names.push_back(name.text());
    device.free = limited_memory(limits, names.back(), device.free);
  }
  check_memory_limits(limits, std::move(names));
}

bool is_device_kind(const DeviceKindSpec& kind, const std::string& name) {
  return kind.cpu ? name == "cpu" : has_parts(name, kind.name);
}

PlannedMachines this_machine(const Options& options, const ModelConfig& config) {
  PlannedMachines machines;
  const std::vector<std::string> gpus = options.cpu ? std::vector<std::string>{} : visible_gpus();
  for (const std::string& name : gpus) {
    const auto known =
        std::ranges::find_if(kKinds, [&](const Kind& kind) { return has_parts(name, kind.name); });
    if (known == kKinds.end()) {
      fail(ExitCode::usage,
           "nothing is known of the speed of {}: name what comes near by --devices; "
           "kinds: {}",
           name, fmt::join(kind_names(), ", "));
    }
    machines.devices.push_back(device_of(spec_of(*known), 0));
  }
  const int ranks = gpus.empty() ? cpu_ranks(options, config) : 1;
  const HostCores host = host_cores();
  const int cores = std::max(1, static_cast<int>(host.allowed.size()));
  const DeviceKindSpec kind = cpu_rank(options.threads, ranks, cores);
  for (int rank = 0; rank < ranks; ++rank)
    machines.devices.push_back({.kind = kind, .free = kind.memory});
  machines.nccl = !gpus.empty() && finds_nccl();
  const std::string what =
      gpus.empty() ? count_text(ranks, "CPU rank") : fmt::format("{} x {}", gpus.size(), gpus[0]);
  machines.text = fmt::format("this machine: {}, {} on {}", what, count_text(cores, "core"),
                              count_text(host.sockets, "socket"));
  return machines;
}

}  // namespace dinfer
