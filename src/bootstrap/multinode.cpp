#include "bootstrap/multinode.h"

#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/whole_number.h"
#include "bootstrap/world.h"

namespace dinfer {
namespace {

constexpr auto kGlobal = "MISTRALRS_MN_GLOBAL_WORLD_SIZE";
constexpr auto kLocal = "MISTRALRS_MN_LOCAL_WORLD_SIZE";
constexpr auto kWorkers = "MISTRALRS_MN_HEAD_NUM_WORKERS";
constexpr auto kPort = "MISTRALRS_MN_HEAD_PORT";
constexpr auto kAddress = "MISTRALRS_MN_WORKER_SERVER_ADDR";
constexpr auto kWorkerId = "MISTRALRS_MN_WORKER_ID";

std::optional<int> number(const Environment& environment, const char* name, int low, int high) {
  const char* text = environment(name);
  if (!text) return std::nullopt;
  const auto value = whole_number(text, high);
  if (!value || *value < low)
    fail(ExitCode::config, "{}={}: must be a whole number from {} to {}", name, text, low, high);
  return value;
}

template <class T>
T required(const std::optional<T>& value, const char* name, const char* because) {
  if (!value) fail(ExitCode::config, "{} is set, and {} is not: both are needed", because, name);
  return *value;
}

void check_sizes(const MultinodePlan& plan) {
  if (plan.size % plan.local_size != 0)
    fail(ExitCode::config,
         "{}={} is no multiple of {}={}: the world is the local size times the number of nodes",
         kGlobal, plan.size, kLocal, plan.local_size);
}

void read_head(const Environment& environment, MultinodePlan& plan) {
  const auto workers = number(environment, kWorkers, 0, kMostRanks);
  const auto port = number(environment, kPort, 1, 65535);
  plan.head.port = static_cast<uint16_t>(required(port, kPort, kWorkers));
  required(workers, kWorkers, kPort);
  if (*workers + 1 != plan.nodes())
    fail(ExitCode::config,
         "{}={} and {}={} make {} nodes, but {}={} says {}: workers are the nodes beside the head",
         kGlobal, plan.size, kLocal, plan.local_size, plan.nodes(), kWorkers, *workers,
         *workers + 1);
}

void read_worker(const Environment& environment, MultinodePlan& plan) {
  const char* address = environment(kAddress);
  const auto id = number(environment, kWorkerId, 0, kMostRanks);
  if (!address)
    fail(ExitCode::config, "{} is set, and {} is not: both are needed", kWorkerId, kAddress);
  plan.node = required(id, kWorkerId, kAddress) + 1;
  plan.head = parse_host_port(address, kAddress);
  if (plan.node >= plan.nodes())
    fail(ExitCode::config, "{}={}, but {}={} and {}={} leave workers 0 to {} only", kWorkerId, *id,
         kGlobal, plan.size, kLocal, plan.local_size, plan.nodes() - 2);
}

}  // namespace

MultinodePlan read_multinode(const Environment& environment, int default_local) {
  MultinodePlan plan;
  plan.size = required(number(environment, kGlobal, 1, kMostRanks), kGlobal, "MISTRALRS_MN_*");
  plan.local_size = number(environment, kLocal, 1, kMostRanks).value_or(default_local);
  check_sizes(plan);
  const bool head = environment(kWorkers) || environment(kPort);
  const bool worker = environment(kAddress) || environment(kWorkerId);
  if (head && worker)
    fail(ExitCode::config, "{} makes this node the head, {} makes it a worker: unset one of them",
         environment(kPort) ? kPort : kWorkers, environment(kAddress) ? kAddress : kWorkerId);
  if (head)
    read_head(environment, plan);
  else if (worker)
    read_worker(environment, plan);
  else
    fail(ExitCode::config,
         "{} is set, but neither {} and {} (on the head) nor {} and {} (on a worker node)", kGlobal,
         kPort, kWorkers, kAddress, kWorkerId);
  return plan;
}

std::string describe_rank(const MultinodePlan& plan, int rank) {
  const int node = rank / plan.local_size;
  const int local = rank % plan.local_size;
  return node == 0 ? fmt::format("rank {} (head node, local rank {})", rank, local)
                   : fmt::format("rank {} (worker {}, local rank {})", rank, node - 1, local);
}

}  // namespace dinfer
