// A GPU rank of a small job for the fault tests: says who it is, sums without end, and ends like
// dinfer.
//   gpu_fault_rank peers|nccl
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "bootstrap/mpi_control_plane.h"
#include "bootstrap/mpi_session.h"
#include "comm/gpu_communicator.h"
#include "comm/mpi_communicator.h"
#include "kernels/cuda/error.h"

namespace {

using namespace dinfer;
using Seconds = std::chrono::duration<double>;

constexpr Seconds kStepTimeout{1.0};
constexpr size_t kFloats = 1 << 20;

[[noreturn]] void work(ControlPlane& control, GpuStream& stream, Communicator& group) {
  float* values = nullptr;
  cuda::require(cudaMalloc(&values, kFloats * sizeof(float)), "cudaMalloc");
  cuda::require(cudaMemset(values, 0, kFloats * sizeof(float)), "cudaMemset");
  for (int step = 0;; ++step) {
    control.set_phase("decode step " + std::to_string(step));
    for (int sum = 0; sum < 64; ++sum) group.all_reduce_sum({values, kFloats});
    stream.wait();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const GpuPaths paths =
      argc > 1 && std::string_view(argv[1]) == "nccl" ? GpuPaths::nccl_only : GpuPaths::peers_only;
  const auto session = MpiSession::start(Seconds(60));
  const World& world = session->world();
  const auto control = make_mpi_control_plane(session);
  try {
    GpuStream stream(world.local_rank);
    const Members members(all_ranks(world.size), world.rank);
    const auto group = make_gpu_communicator(
        *control, world, stream, members, make_mpi_communicator(session, members, kStepTimeout),
        {.start_timeout = Seconds(30), .step_timeout = kStepTimeout, .paths = paths});
    std::printf("rank %d pid %d\n", world.rank, getpid());
    std::fflush(stdout);
    work(*control, stream, *group);
  } catch (const Error& error) {
    const Seconds now = std::chrono::steady_clock::now().time_since_epoch();
    std::fprintf(stderr, "[%d] at %.3f error: %s\n", world.rank, now.count(), error.what());
    control->abort(error.code());
  }
}
