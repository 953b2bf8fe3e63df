// engine_cycles N: one job starts and ends the whole engine N times, and must have in the end what
// it had after the first few: memory of the host and of the device, descriptors, threads, shared
// memory. Under mpirun or alone; one GPU a rank where there are GPUs.
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/error.h"
#include "comm/members.h"
#include "engine/engine.h"
#include "factory.h"
#include "tests/support/tiny_model.h"

#if defined(__SANITIZE_ADDRESS__)
// What was freed is not to count as what is held.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=1"; }
#endif

namespace dinfer::test {
namespace {

constexpr int kSettling = 10;  // cycles after which nothing may grow
constexpr int kTokens = 6;
constexpr SchedulerLimits kLimits{.max_seqs = 2,
                                  .max_batch_tokens = 32,
                                  .max_logit_rows = 4,
                                  .max_seq_len = 64,
                                  .block_size = 16,
                                  .blocks = 16};

struct Holdings {
  int64_t resident = 0;  // KiB
  int64_t device_free = 0;
  int64_t descriptors = 0, threads = 0, shared = 0;
};

int64_t count(const std::string& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), {});
}

int64_t shared_mappings() {
  std::ifstream maps("/proc/self/maps");
  int64_t found = 0;
  for (std::string line; std::getline(maps, line);)
    found += line.find("/dev/shm/") != std::string::npos ? 1 : 0;
  return found;
}

Holdings look(const Device& device) {
  malloc_trim(0);
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  statm >> pages >> resident;
  return {.resident = resident * 4,
          .device_free =
              device.kind() == DeviceKind::cuda ? static_cast<int64_t>(device.free_memory()) : 0,
          .descriptors = count("/proc/self/fd"),
          .threads = count("/proc/self/task"),
          .shared = shared_mappings()};
}

Holdings run_once(const Bootstrap& boot) {
  const World& world = boot.world;
  const ModelConfig config = tiny_config();
  const auto device = make_device(world, false, {});
  const auto group = boot.make_communicator(*device, all_ranks(world.size));
  const Placement placement = tensor_parallel(config, world.size, 32);
  const Shard& shard = placement.shards[static_cast<size_t>(world.rank)];
  const auto checkpoint = tiny_checkpoint(config, 3);
  Transformer model(
      *device, {*group, *group, placement.stages_of(world.rank)}, config, shard,
      load_weights(*checkpoint, config, shard, {}, *device),
      KvCache(*device, config, shard, device->kv_type(), kLimits.block_size, kLimits.blocks),
      {.rows = kLimits.max_batch_tokens,
       .logit_rows = kLimits.max_logit_rows,
       .positions = kLimits.max_seq_len});
  std::vector<Range> slices;
  for (const Shard& each : placement.shards) slices.push_back(each.vocab);
  Sampler sampler(*device, *group, slices);
  const CallTime calls;
  Worker worker(model, &sampler, {*group},
                {.slots = static_cast<uint32_t>(kLimits.max_seqs),
                 .blocks = kLimits.blocks,
                 .vocab = static_cast<int32_t>(config.vocab),
                 .rows = kLimits.max_batch_tokens},
                kLimits.max_seq_len, calls);
  if (world.rank > 0) {
    check(run_worker(worker, *boot.control, 30) == 0, "the head ends the loop");
  } else {
    Engine engine(worker, *boot.control, kLimits, 30, 30);
    int tokens = 0;
    for (int i = 0; i < 2; ++i) {
      Request request{.prompt = {1, 2, 3 + i}, .max_tokens = kTokens};
      request.on_token = [&tokens](const TokenEvent&) { return ++tokens > 0; };
      engine.submit(std::move(request));
    }
    engine.run_until_idle();
    engine.shut_down(0);
    check(tokens == 2 * kTokens, "every token comes");
  }
  device->synchronize();
  return look(*device);
}

// Within what allocators and drivers keep for themselves.
bool same(const Holdings& before, const Holdings& after) {
  return after.resident - before.resident < 16 * 1024 &&
         before.device_free - after.device_free < (16 << 20) &&
         after.descriptors <= before.descriptors && after.threads <= before.threads &&
         after.shared <= before.shared;
}

int run_cycles(int cycles) {
  Bootstrap boot = make_bootstrap({});
  Holdings settled, last;
  for (int i = 0; i < cycles; ++i) {
    last = run_once(boot);
    if (i + 1 == std::min(kSettling, cycles)) settled = last;
  }
  for (const Holdings& each : {settled, last})
    std::printf(
        "rank %d: %lld KiB resident, %lld bytes free on the device, %lld descriptors, %lld "
        "threads, %lld shared mappings\n",
        boot.world.rank, static_cast<long long>(each.resident),
        static_cast<long long>(each.device_free), static_cast<long long>(each.descriptors),
        static_cast<long long>(each.threads), static_cast<long long>(each.shared));
  boot.finish(Deadline::after(std::chrono::seconds(10)));
  return same(settled, last) ? 0 : 1;
}

}  // namespace
}  // namespace dinfer::test

int main(int argc, char** argv) {
  if (argc != 2 || std::atoi(argv[1]) < 1) {
    std::fprintf(stderr, "usage: engine_cycles N\n");
    return 2;
  }
  try {
    return dinfer::test::run_cycles(std::atoi(argv[1]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "engine_cycles: %s\n", error.what());
    return 1;
  }
}
