#include "comm/gpu_peer.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "base/error.h"
#include "device/gpu_check.h"
#include "device/gpu_memory.h"
#include "kernels/cuda/peer_mail.h"

namespace dinfer {
namespace {

// Room in a slot, and so the longest sum of one kernel: 50 MiB of window a rank on two GPUs.
constexpr size_t kSlotBytes = size_t{8} << 20;

using Seconds = std::chrono::duration<double>;

// Of kernels that only try the links.
constexpr std::chrono::seconds kTrialTimeout{5};
constexpr size_t kTrialFloats = 100'003;

std::string why_unreachable(const std::vector<GpuRank>& gpus, int rank, int ordinal) {
  if (span_hosts(gpus)) return "the ranks are on several hosts";
  if (gpus.size() > cuda::kMaxPeers) return fmt::format("more than {} ranks", cuda::kMaxPeers);
  for (int peer = 0; peer < std::ssize(gpus); ++peer) {
    if (peer == rank) continue;
    int other = -1, reaches = 0;
    // A GPU that is not visible here can be tried all the same.
    if (cudaDeviceGetByPCIBusId(&other, gpus[static_cast<size_t>(peer)].bus.c_str()) != cudaSuccess)
      continue;
    check_cuda(cudaDeviceCanAccessPeer(&reaches, ordinal, other), "cudaDeviceCanAccessPeer");
    if (!reaches)
      return fmt::format("its GPU cannot access the memory of rank {}'s ({} and {})",
                         gpus[static_cast<size_t>(peer)].rank, gpus[static_cast<size_t>(rank)].bus,
                         gpus[static_cast<size_t>(peer)].bus);
  }
  cudaGetLastError();
  return "";
}

template <class Work>
std::string reason_of(Work&& work) {
  try {
    work();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

uint64_t nanoseconds(Seconds seconds) { return static_cast<uint64_t>(seconds.count() * 1e9); }

float trial_value(int rank, size_t i) {
  return static_cast<float>((i * 7 + static_cast<size_t>(rank) * 31) % 1009);
}

}  // namespace

std::unique_ptr<PeerMemory> PeerMemory::open(GroupPlane& control, const std::vector<GpuRank>& gpus,
                                             GpuStream& stream,
                                             std::chrono::duration<double> step_timeout,
                                             Deadline deadline, std::string& reason) {
  std::unique_ptr<PeerMemory> memory(new PeerMemory(stream));
  const auto agreed = [&](auto&& work) {
    reason = first_reason(control, reason_of(work), deadline);
    return reason.empty();
  };
  reason = first_reason(control, why_unreachable(gpus, control.rank(), stream.ordinal()), deadline);
  if (!reason.empty()) return nullptr;
  cudaIpcMemHandle_t handle{};
  const bool made = agreed([&] {
    memory->allocate(control.rank(), control.size(), step_timeout);
    check_cuda(cudaIpcGetMemHandle(&handle, memory->group_.windows[control.rank()]),
               "cudaIpcGetMemHandle");
  });
  if (!made) return nullptr;
  const auto bytes = std::as_bytes(std::span(&handle, 1));
  const std::vector<Bytes> handles = control.all_gather({bytes.begin(), bytes.end()}, deadline);
  if (!agreed([&] { memory->map(handles); })) return nullptr;
  if (!agreed([&] { memory->try_out(); })) return nullptr;
  memory->group_.timeout_ns = nanoseconds(step_timeout);
  return memory;
}

void PeerMemory::allocate(int rank, int ranks, std::chrono::duration<double> step_timeout) {
  group_.rank = rank;
  group_.ranks = ranks;
  group_.slot_bytes = kSlotBytes;
  group_.timeout_ns = nanoseconds(std::min<Seconds>(step_timeout, kTrialTimeout));
  const size_t bytes = cuda::peer_window_bytes(ranks, kSlotBytes);
  void* window = nullptr;
  check_cuda(cudaMalloc(&window, bytes), "cudaMalloc");
  group_.windows[rank] = static_cast<std::byte*>(window);
  cuda::peer_clear(kernels_, group_.windows[rank], bytes);
  check_cuda(cudaMalloc(&group_.counters, sizeof(cuda::PeerCounters)), "cudaMalloc");
  check_cuda(cudaMemsetAsync(group_.counters, 0, sizeof(cuda::PeerCounters), stream_.get()),
             "cudaMemsetAsync");
  check_cuda(cudaMalloc(&group_.mail, sizeof(cuda::PeerMailCounters)), "cudaMalloc");
  check_cuda(cudaMemsetAsync(group_.mail, 0, sizeof(cuda::PeerMailCounters), stream_.get()),
             "cudaMemsetAsync");
  void* report = nullptr;
  check_cuda(cudaHostAlloc(&report, sizeof(cuda::PeerReport), cudaHostAllocMapped),
             "cudaHostAlloc");
  report_ = new (report) cuda::PeerReport;
  check_cuda(cudaHostGetDevicePointer(&report, report, 0), "cudaHostGetDevicePointer");
  group_.report = static_cast<cuda::PeerReport*>(report);
  stream_.wait();
}

void PeerMemory::map(std::span<const Bytes> handles) {
  for (int peer = 0; peer < group_.ranks; ++peer) {
    if (peer == group_.rank) continue;
    cudaIpcMemHandle_t handle{};
    std::memcpy(&handle, handles[static_cast<size_t>(peer)].data(), sizeof handle);
    void* window = nullptr;
    check_cuda(cudaIpcOpenMemHandle(&window, handle, cudaIpcMemLazyEnablePeerAccess),
               "cudaIpcOpenMemHandle");
    group_.windows[peer] = static_cast<std::byte*>(window);
  }
}

// Links that claim to work are tried: one sum on each path, one message of each form.
void PeerMemory::try_out() {
  constexpr size_t count = kTrialFloats;
  std::vector<float> host(count);
  GpuMemory memory(2 * count * sizeof(float));
  auto* values = reinterpret_cast<float*>(memory.data());
  const auto copy = [&](float* to, const float* from) {
    check_cuda(cudaMemcpyAsync(to, from, count * sizeof(float), cudaMemcpyDefault, stream_.get()),
               "cudaMemcpyAsync");
  };
  const auto expect = [&](const float* device, size_t length, auto expected) {
    copy(host.data(), device);
    stream_.wait();
    for (size_t i = 0; i < length; ++i)
      if (fault() != cuda::PeerFault::none || host[i] != expected(i))
        fail(ExitCode::device, "a trial of the memory of its peers went wrong ({})",
             fault() == cuda::PeerFault::late ? "a peer's data did not arrive" : "wrong data");
  };
  const auto fill = [&] {
    for (size_t i = 0; i < count; ++i) host[i] = trial_value(group_.rank, i);
    copy(values, host.data());
  };
  for (const cuda::PeerPath path : {cuda::PeerPath::one_shot, cuda::PeerPath::two_shot}) {
    fill();
    cuda::peer_sum(kernels_, group_, path, values, nullptr, count);
    expect(values, count, [&](size_t i) {
      float sum = 0;
      for (int rank = 0; rank < group_.ranks; ++rank) sum += trial_value(rank, i);
      return sum;
    });
  }
  const int next = (group_.rank + 1) % group_.ranks;
  const int previous = (group_.rank + group_.ranks - 1) % group_.ranks;
  for (const size_t length : {size_t{1001}, count}) {
    fill();
    const size_t bytes = length * sizeof(float);
    cuda::peer_send(kernels_, group_, next, memory.data(), bytes);
    cuda::peer_receive(kernels_, group_, previous, reinterpret_cast<std::byte*>(values + count),
                       bytes);
    expect(values + count, length, [&](size_t i) { return trial_value(previous, i); });
  }
}

cuda::PeerFault PeerMemory::fault() const {
  return static_cast<cuda::PeerFault>(
      std::atomic_ref(report_->fault).load(std::memory_order_acquire));
}

void PeerMemory::stop() { std::atomic_ref(report_->stop).store(1, std::memory_order_release); }

PeerMemory::~PeerMemory() {
  if (report_) stop();  // freeing memory waits for the kernels
  for (int rank = 0; rank < group_.ranks; ++rank) {
    if (rank == group_.rank || !group_.windows[rank]) continue;
    cudaIpcCloseMemHandle(group_.windows[rank]);
  }
  cudaFree(group_.windows[group_.rank]);
  cudaFree(group_.counters);
  cudaFree(group_.mail);
  cudaFreeHost(report_);
}

}  // namespace dinfer
