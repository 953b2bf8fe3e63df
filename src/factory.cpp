#include "factory.h"

#include <unistd.h>

#include <cstdlib>

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

// What serves the device's memory, given a communicator of the same ranks for host memory.
std::unique_ptr<Communicator> for_device([[maybe_unused]] Device& device,
                                         [[maybe_unused]] ControlPlane& control,
                                         [[maybe_unused]] const World& world,
                                         [[maybe_unused]] std::string_view bootstrap,
                                         std::unique_ptr<Communicator> host,
                                         [[maybe_unused]] const BootstrapOptions& options) {
#if DINFER_HAS_CUDA
  if (device.kind() == DeviceKind::cuda)
    return make_gpu_communicator(
        control, world, stream_of(device), std::move(host),
        {.start_timeout = options.start_timeout,
         .step_timeout = options.step_timeout,
         .paths = bootstrap == "ring" ? GpuPaths::staged_only : GpuPaths::all});
#endif
  return host;
}

Bootstrap make_single(const BootstrapOptions& options, const BootstrapChoice& choice) {
  Bootstrap single;
  single.reason = choice.reason;
  single.world.host = host_name();
  single.name = "single";
  single.control = make_single_control_plane();
  single.make_communicator = [control = single.control.get(), world = single.world,
                              options](Device& device) {
    return for_device(device, *control, world, "single", make_single_communicator(), options);
  };
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
                        .longest_silence = kSilenceShare * options.stall_timeout});
  Bootstrap mpi;
  mpi.world = session->world();
  mpi.name = choice.name;
  mpi.reason = choice.reason;
  mpi.control = make_mpi_control_plane(session);
  mpi.make_communicator = [session, control = mpi.control.get(), options](Device& device) {
    const World& world = session->world();
    return for_device(device, *control, world, "mpi",
                      world.size > 1 ? make_mpi_communicator(session, options.step_timeout)
                                     : make_single_communicator(),
                      options);
  };
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
  return {.count = static_cast<int>(probe.gpus.size()), .nccl = kHasNccl && !probe.nccl.empty()};
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
       .has_mpi = kHasMpi,
       .gpus = [&options] { return options.cpu ? VisibleGpus{} : count_gpus(options); },
       .fitting_ranks = options.fitting_ranks},
      launcher, environment);
#if DINFER_HAS_MPI
  if (choice.name == "mpi") return make_mpi(options, launcher, choice);
#endif
  if (choice.name == "single") return make_single(options, choice);
  Bootstrap tcp = make_tcp(options, choice, environment);
  if (tcp.exit_code) return tcp;
  tcp.make_communicator = [make_host = std::move(tcp.make_communicator), world = tcp.world,
                           control = tcp.control.get(), name = tcp.name, options](Device& device) {
    return for_device(device, *control, world, name, make_host(device), options);
  };
  return tcp;
}

std::unique_ptr<Device> make_device(const World& world, bool cpu_only, const CpuOptions& cpu) {
#if DINFER_HAS_CUDA
  const int gpus = cpu_only ? 0 : visible_gpus();
  // A launcher may show each rank its own GPU; whether they differ is seen when they meet.
  if (gpus > 1 && gpus <= world.ordinal) {
    fail(ExitCode::device,
         "host {} runs {} ranks and has {} visible GPUs, and a rank takes one: start at most {} "
         "ranks there, look at CUDA_VISIBLE_DEVICES, or run with --cpu",
         world.host, world.local_size, gpus, gpus);
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
