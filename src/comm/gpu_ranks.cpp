#include "comm/gpu_ranks.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>

#include <cuda_runtime.h>

#include "base/error.h"
#include "device/gpu_check.h"

namespace dinfer {
namespace {

// Sent as bytes: all ranks run the same binary's layout.
struct Introduction {
  char host[256] = "";
  char name[256] = "";
  char bus[32] = "";
  std::array<std::byte, 16> uuid{};
};

Introduction introduce(const World& world, int ordinal) {
  Introduction own;
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  check_cuda(cudaDeviceGetPCIBusId(own.bus, sizeof own.bus, ordinal), "cudaDeviceGetPCIBusId");
  // What NCCL is told to take for another host is one for us, too.
  const char* host_id = std::getenv("NCCL_HOSTID");
  const std::string host = host_id ? fmt::format("{} ({})", world.host, host_id) : world.host;
  host.copy(own.host, sizeof own.host - 1);
  std::string_view(properties.name).copy(own.name, sizeof own.name - 1);
  std::memcpy(own.uuid.data(), properties.uuid.bytes, own.uuid.size());
  return own;
}

void check_distinct(const std::vector<GpuRank>& gpus) {
  for (size_t b = 1; b < gpus.size(); ++b) {
    for (size_t a = 0; a < b; ++a) {
      if (gpus[a].uuid != gpus[b].uuid) continue;
      fail(ExitCode::device,
           "ranks {} and {} are on the same GPU ({}, {} of host {}): start no more ranks on a host "
           "than it has visible GPUs (CUDA_VISIBLE_DEVICES, nvidia-smi -L), or use --cpu",
           gpus[a].rank, gpus[b].rank, gpus[a].name, gpus[a].bus, gpus[a].host);
    }
  }
}

}  // namespace

std::vector<GpuRank> introduce_gpus(GroupPlane& control, const World& world,
                                    const GpuStream& stream, Deadline deadline) {
  const Introduction own = introduce(world, stream.ordinal());
  const auto bytes = std::as_bytes(std::span(&own, 1));
  std::vector<GpuRank> gpus;
  for (const Bytes& message : control.all_gather({bytes.begin(), bytes.end()}, deadline)) {
    check(message.size() == sizeof(Introduction), "all ranks run the same binary");
    Introduction other;
    std::memcpy(&other, message.data(), sizeof other);
    const int rank = control.members()[static_cast<int>(gpus.size())];
    gpus.push_back({rank, other.host, other.name, other.bus, other.uuid});
  }
  check_distinct(gpus);
  return gpus;
}

bool span_hosts(const std::vector<GpuRank>& gpus) {
  return std::ranges::any_of(gpus, [&](const GpuRank& gpu) { return gpu.host != gpus[0].host; });
}

std::string first_reason(GroupPlane& control, const std::string& own, Deadline deadline) {
  const auto bytes = std::as_bytes(std::span(own));
  const auto all = control.all_gather({bytes.begin(), bytes.end()}, deadline);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    const std::string_view reason(reinterpret_cast<const char*>(all[rank].data()),
                                  all[rank].size());
    return fmt::format("rank {}: {}", control.members()[static_cast<int>(rank)], reason);
  }
  return "";
}

}  // namespace dinfer
