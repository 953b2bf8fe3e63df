#include "factory.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/log.h"
#include "bootstrap/launcher.h"
#include "bootstrap/single_control_plane.h"
#include "comm/single_communicator.h"
#include "factory_tcp.h"

#if DINFER_HAS_MPI
#include "bootstrap/mpi_control_plane.h"
#include "bootstrap/mpi_session.h"
#include "comm/mpi_communicator.h"
#include "net/interfaces.h"
#endif
#if DINFER_HAS_CUDA
#include <cuda.h>

#include "bootstrap/gpu_probe.h"
#include "comm/gpu_communicator.h"
#include "comm/gpu_ranks.h"
#include "comm/gpu_staged.h"
#include "device/gpu_device.h"
#endif
#if DINFER_HAS_NCCL
#include <nccl.h>
#endif

// The only file that knows what the build has.
namespace dinfer {
namespace {

constexpr bool kHasMpi =
#if DINFER_HAS_MPI
    true;
#else
    false;
#endif

// A rank that is stopped is to be named within the stall timeout.
[[maybe_unused]] constexpr double kStopShare = 0.8;

[[maybe_unused]] constexpr bool kHasNccl =
#if DINFER_HAS_NCCL
    true;
#else
    false;
#endif

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

// Collective among the members. Whether both GPU ranks and CPU ranks are among them.
bool is_mixed(const Device& device, HostCommunicator& host, const BootstrapOptions& options) {
  const auto own = static_cast<std::byte>(device.kind());
  std::vector<std::byte> kinds(static_cast<size_t>(host.size()));
  host.set_timeout(options.start_timeout);
  host.all_gather({&own, 1}, kinds);
  host.set_timeout(options.step_timeout);
  return std::ranges::any_of(kinds, [&](std::byte kind) { return kind != own; });
}

// Gives `boot` its communicators, over those for host memory.
void serve_devices(Bootstrap& boot, HostCommunicatorMaker make_host,
                   const BootstrapOptions& options) {
  boot.make_host_communicator = [make_host, rank = boot.world.rank](std::span<const int> ranks) {
    return make_host(Members(ranks, rank));
  };
  boot.check_devices = [control = boot.control.get(), world = boot.world, make_host,
                        options](Device& device) {
    const Members all(all_ranks(world.size), world.rank);
    const std::unique_ptr<HostCommunicator> host = make_host(all);
    if (is_mixed(device, *host, options) || device.kind() == DeviceKind::cpu) return;
#if DINFER_HAS_CUDA
    GroupPlane plane(*control, *host, all);
    introduce_gpus(plane, world, stream_of(device), Deadline::after(options.start_timeout));
#endif
  };
  boot.make_communicator =
      [control = boot.control.get(), world = boot.world, name = boot.name,
       make_host = std::move(make_host), options, warned = false](
          Device& device, std::span<const int> ranks) mutable -> std::unique_ptr<Communicator> {
    const Members members(ranks, world.rank);
    std::unique_ptr<HostCommunicator> host = make_host(members);
    const bool mixed = is_mixed(device, *host, options);
    const bool on_gpus = mixed || device.kind() == DeviceKind::cuda;
    if (on_gpus && (mixed || options.no_p2p) && members.size() > 1 && world.rank == 0 && !warned) {
      warned = true;
      log::warn("tensors of GPUs travel through host memory, which is slow: {}",
                mixed ? "GPU ranks and CPU ranks share the model" : "--no-p2p");
    }
#if DINFER_HAS_CUDA
    const bool staged = options.no_p2p || name == "ring";
    if (device.kind() == DeviceKind::cuda && mixed)
      return make_staged_communicator(stream_of(device), std::move(host), StagedParts::whole);
    if (device.kind() == DeviceKind::cuda)
      return make_gpu_communicator(*control, world, stream_of(device), members, std::move(host),
                                   {.start_timeout = options.start_timeout,
                                    .step_timeout = options.step_timeout,
                                    .paths = staged ? GpuPaths::staged_only : GpuPaths::all});
#endif
    return host;
  };
}

Bootstrap make_single(const BootstrapOptions& options, const BootstrapChoice& choice) {
  Bootstrap single;
  single.reason = choice.reason;
  single.world.host = host_name();
  single.name = "single";
  single.control = make_single_control_plane();
  serve_devices(
      single, [](const Members&) { return make_single_communicator(); }, options);
  single.finish = [](Deadline) {};
  return single;
}

#if DINFER_HAS_MPI
Bootstrap make_mpi(const BootstrapOptions& options, const Launcher& launcher,
                   const BootstrapChoice& choice) {
  std::shared_ptr<MpiSession> session = MpiSession::start(options.start_timeout);
  check_world_size(launcher, session->world().size);
  session->wait().set_longest_stop(kStopShare * options.stall_timeout);
  session->start_pulse({.listen_host = address_of_interface(options.security.control_interface),
                        .longest_silence = kSilenceShare * options.stall_timeout,
                        .start_timeout = options.start_timeout});
  Bootstrap mpi;
  mpi.world = session->world();
  mpi.name = choice.name;
  mpi.reason = choice.reason;
  mpi.control = make_mpi_control_plane(session);
  const auto make_host = [session, timeout = options.step_timeout](const Members& members) {
    if (session->world().size == 1) return make_single_communicator();
    return make_mpi_communicator(session, members, timeout);
  };
  serve_devices(mpi, make_host, options);
  mpi.finish = [session, control = mpi.control.get()](Deadline deadline) {
    control->barrier(deadline);
    session->finish();
  };
  return mpi;
}
#endif

VisibleGpus count_gpus([[maybe_unused]] const BootstrapOptions& options) {
#if DINFER_HAS_CUDA
  const GpuProbe probe = probe_gpus_from_afar(Deadline::after(options.start_timeout));
  return {.count = static_cast<int>(probe.gpus.size()),
          .nccl = kHasNccl && !probe.nccl.empty(),
          .memory = probe.memory};
#else
  return {};
#endif
}

}  // namespace

Bootstrap make_bootstrap(const BootstrapOptions& options) {
  const Environment environment = [](const char* name) { return std::getenv(name); };
  const Launcher launcher = detect_launcher(environment);
  const BootstrapChoice choice = choose_bootstrap(
      {.asked = options.bootstrap,
       .mode = options.mode,
       .tp = options.tp,
       .pp = options.pp,
       .dp = options.dp,
       .mapped = options.mapped,
       .has_mpi = kHasMpi,
       .gpus = [&options] { return options.cpu ? VisibleGpus{} : count_gpus(options); },
       .too_large = [&options](const VisibleGpus& gpus) { return options.too_large(gpus.memory); }},
      launcher, environment);
#if DINFER_HAS_MPI
  if (choice.name == "mpi") return make_mpi(options, launcher, choice);
#endif
  if (choice.name == "single") return make_single(options, choice);
  TcpBootstrap tcp = make_tcp(options, choice, environment);
  if (!tcp.boot.exit_code) serve_devices(tcp.boot, std::move(tcp.make_host), options);
  return std::move(tcp.boot);
}

DeviceKind device_kind([[maybe_unused]] bool cpu_only) {
#if DINFER_HAS_CUDA
  if (!cpu_only && visible_gpus() > 0) return DeviceKind::cuda;
#endif
  return DeviceKind::cpu;
}

std::unique_ptr<Device> make_device(const World& world, bool cpu_only, const CpuOptions& cpu) {
#if DINFER_HAS_CUDA
  const int gpus = cpu_only ? 0 : visible_gpus();
  // A launcher may show each rank its own GPU; whether they differ is seen when they meet.
  if (gpus > 1 && gpus <= world.ordinal) {
    fail(ExitCode::device,
         "rank {} is to take GPU {} of host {}, which runs {} ranks and has {} visible GPUs: start "
         "at "
         "most {} ranks there, look at CUDA_VISIBLE_DEVICES, or run with --cpu",
         world.rank, world.ordinal, world.host, world.local_size, gpus, gpus);
  }
  if (gpus > 0) return make_gpu_device(gpus == 1 ? 0 : world.ordinal);
#else
  static_cast<void>(world);
  static_cast<void>(cpu_only);
#endif
  return make_cpu_device(cpu);
}

OrderedJson describe_build() {
  OrderedJson build = {{"mpi", nullptr}, {"cuda", nullptr}, {"nccl", nullptr}};
#if DINFER_HAS_MPI
  build["mpi"] = mpi_library_version();
#endif
#if DINFER_HAS_CUDA
  const GpuProbe probe = probe_gpus();
  const auto known = [](const std::string& text) {
    return text.empty() ? OrderedJson(nullptr) : OrderedJson(text);
  };
  build["cuda"] = {{"toolkit", fmt::format("{}.{}", CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10)},
                   {"driver", known(probe.driver)},
                   {"gpus", probe.gpus},
                   {"note", known(probe.note)}};
#if DINFER_HAS_NCCL
  build["nccl"] = {{"built", fmt::format("{}.{}.{}", NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH)},
                   {"found", known(probe.nccl)}};
#endif
#endif
  return build;
}

}  // namespace dinfer
