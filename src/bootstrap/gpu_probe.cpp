#include "bootstrap/gpu_probe.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include <cuda.h>
#include <fmt/format.h>

#include "base/error.h"
#include "net/socket.h"

namespace dinfer {
namespace {

class SharedLibrary {
 public:
  explicit SharedLibrary(const char* name) : handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {}

  explicit operator bool() const { return handle_ != nullptr; }

  // nullptr when the library has no such function.
  template <class Function>
  Function* find(const char* symbol) const {
    return reinterpret_cast<Function*>(dlsym(handle_, symbol));
  }

 private:
  void* handle_;  // never closed: a driver does not survive being unloaded
};

void add_note(GpuProbe& probe, const std::string& note) {
  probe.note += (probe.note.empty() ? "" : "; ") + note;
}

void probe_driver(GpuProbe& probe) {
  const SharedLibrary driver("libcuda.so.1");
  if (!driver) return add_note(probe, "no NVIDIA driver (libcuda.so.1) on this machine");
  const auto init = driver.find<decltype(cuInit)>("cuInit");
  const auto version = driver.find<decltype(cuDriverGetVersion)>("cuDriverGetVersion");
  const auto count = driver.find<decltype(cuDeviceGetCount)>("cuDeviceGetCount");
  const auto name = driver.find<decltype(cuDeviceGetName)>("cuDeviceGetName");
  const auto total = driver.find<decltype(cuDeviceTotalMem)>("cuDeviceTotalMem_v2");
  if (!init || !version || !count || !name || !total)
    return add_note(probe, "libcuda.so.1 lacks functions of the driver interface");
  int number = 0;
  if (version(&number) == CUDA_SUCCESS)
    probe.driver = fmt::format("{}.{}", number / 1000, number % 1000 / 10);
  int gpus = 0;
  const CUresult started = init(0);
  if (started == CUDA_ERROR_NO_DEVICE)
    return add_note(probe, "the driver sees no GPU (is CUDA_VISIBLE_DEVICES set?)");
  if (started != CUDA_SUCCESS)
    return add_note(probe, fmt::format("cuInit failed with {}", static_cast<int>(started)));
  if (count(&gpus) != CUDA_SUCCESS) return add_note(probe, "the driver cannot count its GPUs");
  for (CUdevice device = 0; device < gpus; ++device) {
    char text[256] = "";
    const bool named = name(text, sizeof text - 1, device) == CUDA_SUCCESS;
    probe.gpus.push_back(named ? text : "unnamed GPU");
    size_t bytes = 0;
    probe.memory.push_back(total(&bytes, device) == CUDA_SUCCESS ? bytes : 0);
  }
}

void probe_nccl(GpuProbe& probe) {
  const SharedLibrary nccl("libnccl.so.2");
  if (!nccl) return add_note(probe, "no NCCL (libnccl.so.2) on the library path");
  // ncclResult_t ncclGetVersion(int*), the same in every NCCL 2.
  const auto get_version = nccl.find<int(int*)>("ncclGetVersion");
  int number = 0;
  if (!get_version || get_version(&number) != 0)
    return add_note(probe, "libnccl.so.2 does not tell its version");
  // Coded as major * 10000 + minor * 100 + patch since 2.9, before with 1000 for the major number.
  const int major = number >= 10000 ? 10000 : 1000;
  probe.nccl = fmt::format("{}.{}.{}", number / major, number % major / 100, number % 100);
}

constexpr size_t kMostGpus = 64;

// What a child tells of its probe.
struct Findings {
  size_t gpus = 0;
  std::array<uint64_t, kMostGpus> memory{};
  std::array<char, 32> nccl{};
};

Findings findings_of(const GpuProbe& probe) {
  Findings findings{.gpus = std::min(probe.gpus.size(), kMostGpus)};
  std::copy_n(probe.memory.begin(), findings.gpus, findings.memory.begin());
  probe.nccl.copy(findings.nccl.data(), findings.nccl.size() - 1);
  return findings;
}

}  // namespace

GpuProbe probe_gpus() {
  GpuProbe probe;
  probe_driver(probe);
  probe_nccl(probe);
  return probe;
}

GpuProbe probe_gpus_from_afar(Deadline deadline) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0)
    fail(ExitCode::device, "pipe: {}", std::generic_category().message(errno));
  const pid_t child = fork();
  if (child == 0) {
    const Findings findings = findings_of(probe_gpus());
    _exit(write(ends[1], &findings, sizeof findings) == sizeof findings ? 0 : 1);
  }
  close(ends[1]);
  Findings findings;
  const bool answered = child > 0 && wait_ready(ends[0], POLLIN, deadline) &&
                        read(ends[0], &findings, sizeof findings) == sizeof findings;
  close(ends[0]);
  if (child > 0) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, answered ? 0 : WNOHANG);  // stuck in the driver, it may not die
  }
  if (!answered)
    fail(ExitCode::device,
         "the NVIDIA driver does not tell its GPUs: look at nvidia-smi and dmesg, or run with "
         "--cpu");
  return {.gpus = std::vector<std::string>(findings.gpus),
          .memory = {findings.memory.begin(), findings.memory.begin() + findings.gpus},
          .nccl = findings.nccl.data()};
}

}  // namespace dinfer
