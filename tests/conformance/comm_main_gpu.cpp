// The conformance program on GPU ranks, under mpirun: one GPU a rank.
#include <gtest/gtest.h>

#include <cstdio>

#include "base/error.h"
#include "bootstrap/mpi_control_plane.h"
#include "comm/mpi_communicator.h"
#include "comm/single_communicator.h"
#include "comm_gpus.h"
#include "comm_groups.h"
#include "device/gpu_memory.h"
#include "kernels/cuda/error.h"
#include "mpi_main.h"

namespace dinfer::test {
namespace {

// A group over device memory, for tests that have their data in host memory.
class StagedCommunicator final : public Communicator {
 public:
  explicit StagedCommunicator(std::unique_ptr<Communicator> inner) : inner_(std::move(inner)) {}

  ~StagedCommunicator() override {
    inner_.reset();  // first: it ends the kernels that freeing memory would wait for
  }

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::string_view transport() const override { return inner_->transport(); }

  void all_reduce_sum(std::span<float> values) override {
    const auto device = copy_in(std::as_bytes(values));
    inner_->all_reduce_sum({reinterpret_cast<float*>(device.data()), values.size()});
    copy_out(device, std::as_writable_bytes(values));
  }

  void all_gather(std::span<const std::byte> in, std::span<std::byte> out) override {
    const auto device = copy_in(in);
    const auto all = reserve(out_, out.size());
    inner_->all_gather(device, all);
    copy_out(all, out);
  }

  void all_gather_host(std::span<const std::byte> in, std::span<std::byte> out) override {
    inner_->all_gather_host(in, out);
  }

  void send(int destination, std::span<const std::byte> data) override {
    inner_->send(destination, copy_in(data));
    process().stream->wait();
  }

  void receive(int source, std::span<std::byte> data) override {
    const auto device = reserve(in_, data.size());
    inner_->receive(source, device);
    copy_out(device, data);
  }

  void send_host(int destination, std::span<const std::byte> data) override {
    inner_->send_host(destination, data);
  }

  void receive_host(int source, std::span<std::byte> data) override {
    inner_->receive_host(source, data);
  }

 private:
  using Memory = std::unique_ptr<GpuMemory>;

  static std::span<std::byte> reserve(Memory& memory, size_t bytes) {
    if (!memory || memory->bytes() < bytes) {
      memory.reset();
      memory = std::make_unique<GpuMemory>(bytes);
    }
    return {memory->data(), bytes};
  }

  std::span<std::byte> copy_in(std::span<const std::byte> host) {
    const auto device = reserve(in_, host.size());
    copy(device.data(), host.data(), host.size());
    return device;
  }

  void copy_out(std::span<const std::byte> device, std::span<std::byte> host) {
    process().stream->wait();
    copy(host.data(), device.data(), host.size());
    process().stream->wait();
  }

  void copy(void* to, const void* from, size_t bytes) {
    cuda::require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, process().stream->get()),
                  "cudaMemcpyAsync");
  }

  std::unique_ptr<Communicator> inner_;
  Memory in_, out_;
};

CommImplementation staged(const char* name, GpuPaths paths) {
  return {name, [paths](Seconds timeout, const std::vector<int>& members) {
            return std::make_unique<StagedCommunicator>(
                make_group(*process().stream, timeout, paths, members));
          }};
}

}  // namespace

GpuProcess& process() {
  static GpuProcess process;
  return process;
}

std::unique_ptr<Communicator> make_group(GpuStream& stream, Seconds timeout, GpuPaths paths,
                                         const std::vector<int>& ranks) {
  GpuProcess& self = process();
  const World& world = self.session->world();
  const Members members(ranks, world.rank);
  auto host = world.size > 1 ? make_mpi_communicator(self.session, members, timeout)
                             : make_single_communicator();
  return make_gpu_communicator(
      *self.control, world, stream, members, std::move(host),
      {.start_timeout = Seconds(30), .step_timeout = timeout, .paths = paths});
}

std::vector<CommImplementation> comm_implementations() {
  return {staged("gpu", GpuPaths::all), staged("gpu_peers", GpuPaths::peers_only),
          staged("gpu_nccl", GpuPaths::nccl_only), staged("gpu_staged", GpuPaths::staged_only)};
}

int job_rank() { return process().session->world().rank; }
int job_size() { return process().session->world().size; }

}  // namespace dinfer::test

int main(int argc, char** argv) {
  using namespace dinfer;
  testing::InitGoogleTest(&argc, argv);
  test::GpuProcess& self = test::process();
  self.session = MpiSession::start(std::chrono::seconds(60));
  const World& world = self.session->world();
  int gpus = 0;
  if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus < world.local_size) {
    if (world.rank == 0) std::printf("skipped: %d GPUs for %d ranks\n", gpus, world.local_size);
    self.session->finish();
    return 0;
  }
  self.control = make_mpi_control_plane(self.session);
  self.stream = std::make_unique<GpuStream>(world.local_rank);
  return test::run_on_all_ranks(self.session);
}
