#include "comm/gpu_communicator.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "comm/gpu_nccl.h"
#include "comm/gpu_paths.h"
#include "comm/gpu_peer.h"
#include "comm/gpu_ranks.h"
#include "comm/gpu_staged.h"
#include "device/gpu_check.h"
#include "kernels/cuda/peer_mail.h"

namespace dinfer {
namespace {

using Seconds = std::chrono::duration<double>;

static_assert(cuda::kMailRoom >= Communicator::kUnawaitedBytes);

// Kernels end their waits themselves; the host is the second to notice, with NCCL the only one.
constexpr Seconds kGrace{0.5};

// How device memory travels without the host.
struct Ways {
  std::unique_ptr<PeerMemory> peers;
  std::unique_ptr<NcclGroup> nccl;
};

Ways open_ways(GroupPlane& control, const World& world, GpuStream& stream,
               const GpuCommunicatorOptions& options) {
  const Deadline deadline = Deadline::after(options.start_timeout);
  const std::vector<GpuRank> gpus = introduce_gpus(control, world, stream, deadline);
  const GpuPaths paths = options.paths;
  Ways ways;
  std::string no_peers = "not wanted", no_nccl = "not wanted";
  if (paths == GpuPaths::all || paths == GpuPaths::peers_only)
    ways.peers = PeerMemory::open(control, gpus, stream, options.step_timeout, deadline, no_peers);
  if (paths == GpuPaths::all || paths == GpuPaths::nccl_only)
    ways.nccl =
        NcclGroup::connect(control, span_hosts(gpus), options.step_timeout, deadline, no_nccl);
  if (ways.peers || ways.nccl || paths == GpuPaths::staged_only) return ways;
  const std::string why =
      fmt::format("not by peer access ({}), not by NCCL ({})", no_peers, no_nccl);
  if (paths != GpuPaths::all) fail(ExitCode::device, "GPU ranks cannot talk: {}", why);
  if (control.rank() == 0)
    log::warn("GPU ranks talk through host memory, which is slow: {}; libnccl2 is what helps", why);
  return ways;
}

class GpuCommunicator final : public Communicator {
 public:
  GpuCommunicator(std::unique_ptr<GroupPlane> control, GpuStream& stream,
                  std::unique_ptr<HostCommunicator> host, Ways ways,
                  const GpuCommunicatorOptions& options)
      : stream_(stream),
        host_(std::move(host)),
        control_(std::move(control)),
        options_(options),
        peers_(std::move(ways.peers)),
        nccl_(std::move(ways.nccl)) {
    if (size() > 1) watch_ = stream_.add_watch([this](Seconds waited) { look_after(waited); });
  }

  ~GpuCommunicator() override {
    if (size() > 1) stream_.remove_watch(watch_);
    if (failed_) give_up();
  }

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  std::string_view transport() const override {
    return size() == 1 ? "none" : nccl_ ? "nccl" : "p2p";
  }

  std::string_view message_transport() const override { return peers_ ? "p2p" : transport(); }

  void all_reduce_sum(std::span<float> values) override {
    if (size() == 1) return;
    check_faults();
    while (!values.empty()) {
      last_call_ = "all_reduce_sum";
      const std::optional<cuda::PeerPath> path = peer_path(values.size_bytes());
      if (!path) return guarded([&] { nccl_->sum(values.data(), values.size(), stream_.get()); });
      const size_t count = std::min(values.size(), cuda::peer_sum_room(peers_->group()));
      cuda::peer_sum(peers_->kernels(), peers_->group(), *path, values.data(), nullptr, count);
      values = values.subspan(count);
    }
  }

  void all_gather(std::span<const std::byte> in, std::span<std::byte> out) override {
    check(out.size() == in.size() * static_cast<size_t>(size()),
          "all_gather: out holds one part a rank");
    if (in.empty()) return;
    check_faults();
    last_call_ = "all_gather";
    if (size() == 1) {
      check_cuda(cudaMemcpyAsync(out.data(), in.data(), in.size(), cudaMemcpyDeviceToDevice,
                                 stream_.get()),
                 "cudaMemcpyAsync");
    } else if (peers_ && (!nccl_ || in.size() <= cuda::kMostGatherBytes)) {
      for (size_t at = 0; at < in.size(); at += cuda::kMostGatherBytes) {
        const size_t bytes = std::min(cuda::kMostGatherBytes, in.size() - at);
        cuda::peer_gather(peers_->kernels(), peers_->group(), in.data() + at, out.data() + at,
                          bytes, in.size());
      }
    } else {
      guarded([&] { nccl_->gather(in.data(), out.data(), in.size(), stream_.get()); });
    }
  }

  void all_gather_host(std::span<const std::byte> in, std::span<std::byte> out) override {
    host_->all_gather_host(in, out);
  }

  void send(int destination, std::span<const std::byte> data) override {
    check(destination >= 0 && destination < size() && destination != rank(), "send: to a peer");
    check_faults();
    last_call_ = "send";
    if (peers_)
      cuda::peer_send(peers_->kernels(), peers_->group(), destination, data.data(), data.size());
    else
      guarded([&] { nccl_->send(destination, data.data(), data.size(), stream_.get()); });
  }

  void receive(int source, std::span<std::byte> data) override {
    check(source >= 0 && source < size() && source != rank(), "receive: from a peer");
    check_faults();
    last_call_ = "receive";
    if (peers_)
      cuda::peer_receive(peers_->kernels(), peers_->group(), source, data.data(), data.size());
    else
      guarded([&] { nccl_->receive(source, data.data(), data.size(), stream_.get()); });
  }

  void send_host(int destination, std::span<const std::byte> data) override {
    host_->send(destination, data);
  }

  void receive_host(int source, std::span<std::byte> data) override {
    host_->receive(source, data);
  }

 private:
  // Which kernel sums `bytes`, or a first part of them; empty: NCCL does.
  std::optional<cuda::PeerPath> peer_path(size_t bytes) const {
    if (!peers_) return std::nullopt;
    return best_path(size(), bytes, nccl_ != nullptr);
  }

  // Called again and again while the host waits for the stream, and once it has.
  void look_after(Seconds waited) {
    if (failed_) return;
    check_faults();
    if (waited > Seconds::zero()) guarded([&] { control_->check_peers(); });
    if (waited > options_.step_timeout + kGrace)
      guarded([&] { control_->fail_late(others(), waited, last_call_); });
  }

  void check_faults() {
    if (failed_) fail(ExitCode::peer, "the ranks have lost each other during {}", last_call_);
    if (nccl_) guarded([&] { nccl_->check_errors(); });
    if (!peers_ || peers_->fault() == cuda::PeerFault::none) return;
    const cuda::PeerReport report = peers_->report();
    const int peer = static_cast<int>(report.peer);
    guarded([&] {
      control_->check_peers();
      if (peers_->fault() == cuda::PeerFault::diverged)
        control_->fail_diverged(peer, fmt::format("a call of length {}", report.theirs),
                                fmt::format("{} of length {}", last_call_, report.ours));
      control_->fail_late({peer}, options_.step_timeout, last_call_);
    });
  }

  // Runs what throws when ranks have lost each other: then no kernel is left waiting for one.
  template <class Work>
  void guarded(Work&& work) {
    try {
      work();
    } catch (...) {
      failed_ = true;
      give_up();
      throw;
    }
  }

  void give_up() {
    if (peers_) peers_->stop();
    if (nccl_) nccl_->abort();
  }

  std::vector<int> others() const {
    std::vector<int> all;
    for (int r = 0; r < size(); ++r)
      if (r != rank()) all.push_back(r);
    return all;
  }

  GpuStream& stream_;
  std::unique_ptr<HostCommunicator> host_;
  std::unique_ptr<GroupPlane> control_;  // over host_
  GpuCommunicatorOptions options_;
  std::unique_ptr<PeerMemory> peers_;
  std::unique_ptr<NcclGroup> nccl_;
  std::string_view last_call_ = "no call";
  int watch_ = 0;
  bool failed_ = false;
};

}  // namespace

std::unique_ptr<Communicator> make_gpu_communicator(ControlPlane& control, const World& world,
                                                    GpuStream& stream, const Members& members,
                                                    std::unique_ptr<HostCommunicator> host,
                                                    const GpuCommunicatorOptions& options) {
  auto group = std::make_unique<GroupPlane>(control, *host, members);
  Ways ways;
  if (members.size() > 1) {
    ways = open_ways(*group, world, stream, options);
    host->set_timeout(options.step_timeout);
    if (!ways.peers && !ways.nccl) return make_staged_communicator(stream, std::move(host));
  }
  return std::make_unique<GpuCommunicator>(std::move(group), stream, std::move(host),
                                           std::move(ways), options);
}

}  // namespace dinfer
