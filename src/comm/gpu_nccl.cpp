#include "comm/gpu_nccl.h"

#include <cstdlib>
#include <cstring>
#include <future>
#include <thread>

#include "base/error.h"
#include "bootstrap/launcher.h"
#include "comm/gpu_nccl_library.h"
#include "comm/gpu_ranks.h"

namespace dinfer {
namespace {

using Seconds = std::chrono::duration<double>;

// Leaving takes milliseconds; NCCL's own threads are not waited for any longer.
constexpr std::chrono::seconds kLeave{5};

// A call that needs no new connection takes less than this.
constexpr std::chrono::microseconds kSpin{500};

class LoadedNcclGroup final : public NcclGroup {
 public:
  LoadedNcclGroup(GroupPlane& control, bool spans_hosts, std::shared_ptr<const NcclLibrary> nccl,
                  const ncclUniqueId& id, Seconds step_timeout, Deadline deadline)
      : control_(control),
        spans_hosts_(spans_hosts),
        nccl_(std::move(nccl)),
        step_timeout_(step_timeout) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const ncclResult_t begun =
        nccl_->comm_init_rank_config(&comm_, control.size(), id, control.rank(), &config);
    try {
      settle(begun, "ncclCommInitRankConfig", deadline);
    } catch (...) {
      abort();  // else the others would wait for this rank until the deadline
      throw;
    }
  }

  ~LoadedNcclGroup() override {
    if (!comm_ || (sound_ && (spans_hosts_ || has_sent_))) return;
    bounded([nccl = nccl_, comm = comm_, sound = sound_] {
      ncclResult_t state = sound ? nccl->comm_finalize(comm) : ncclSystemError;
      const Deadline deadline = Deadline::after(kLeave);
      while (state == ncclInProgress && !deadline.expired()) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        if (nccl->comm_get_async_error(comm, &state) != ncclSuccess) state = ncclSystemError;
      }
      state == ncclSuccess ? nccl->comm_destroy(comm) : nccl->comm_abort(comm);
    });
  }

  void sum(float* values, size_t count, cudaStream_t stream) override {
    settle(nccl_->all_reduce(values, values, count, ncclFloat, ncclSum, comm_, stream),
           "all_reduce_sum (ncclAllReduce)");
  }
  void gather(const std::byte* in, std::byte* out, size_t bytes, cudaStream_t stream) override {
    settle(nccl_->all_gather(in, out, bytes, ncclInt8, comm_, stream),
           "all_gather (ncclAllGather)");
  }
  void send(int peer, const std::byte* data, size_t bytes, cudaStream_t stream) override {
    has_sent_ = true;
    settle(nccl_->send(data, bytes, ncclInt8, peer, comm_, stream), "send (ncclSend)");
  }
  void receive(int peer, std::byte* data, size_t bytes, cudaStream_t stream) override {
    has_sent_ = true;
    settle(nccl_->recv(data, bytes, ncclInt8, peer, comm_, stream), "receive (ncclRecv)");
  }

  void check_errors() override {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = nccl_->comm_get_async_error(comm_, &state);
    if (asked != ncclSuccess) state = asked;
    if (state != ncclSuccess && state != ncclInProgress) fail_nccl(state, "a collective of NCCL");
  }

  void abort() override {
    if (!comm_) return;
    sound_ = false;
    bounded([nccl = nccl_, comm = std::exchange(comm_, nullptr)] { nccl->comm_abort(comm); });
  }

 private:
  // A communicator that does not block says "in progress" where it needs its peers, such as for a
  // first call that makes connections.
  void settle(ncclResult_t state, const char* call) {
    if (state == ncclSuccess) return;
    settle(state, call, Deadline::after(step_timeout_));
  }

  void settle(ncclResult_t state, const char* call, Deadline deadline) {
    const auto begin = Deadline::Clock::now();
    while (state == ncclInProgress) {
      const ncclResult_t asked = nccl_->comm_get_async_error(comm_, &state);
      if (asked != ncclSuccess) state = asked;
      const auto waited = Deadline::Clock::now() - begin;
      if (state != ncclInProgress || waited < kSpin) continue;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      control_.check_peers();
      if (deadline.expired()) {
        sound_ = false;
        control_.fail_late(all_others(), waited, call);
      }
    }
    if (state != ncclSuccess) fail_nccl(state, call);
  }

  std::vector<int> all_others() const {
    std::vector<int> others;
    for (int rank = 0; rank < control_.size(); ++rank)
      if (rank != control_.rank()) others.push_back(rank);
    return others;
  }

  [[noreturn]] void fail_nccl(ncclResult_t state, const char* call) {
    sound_ = false;
    fail(ExitCode::device,
         "{} failed: {}; {}: run with NCCL_DEBUG=WARN to see more, or with MISTRALRS_NO_NCCL=1 to "
         "do without NCCL",
         call, nccl_->get_error_string(state), nccl_->get_last_error(comm_));
  }

  // NCCL may wait for a peer where it says that it does not: it does so in a thread that is left
  // behind then.
  template <class Work>
  static void bounded(Work work) {
    std::promise<void> done;
    std::future<void> end = done.get_future();
    int device = 0;
    cudaGetDevice(&device);
    std::thread([work = std::move(work), done = std::move(done), device]() mutable {
      cudaSetDevice(device);
      work();
      done.set_value();
    }).detach();
    end.wait_for(2 * kLeave);
  }

  GroupPlane& control_;
  bool spans_hosts_;
  std::shared_ptr<const NcclLibrary> nccl_;
  Seconds step_timeout_;
  ncclComm_t comm_ = nullptr;
  bool sound_ = true;
  bool has_sent_ = false;  // messages point to point, whose connections take NCCL 10 s to close
};

}  // namespace

std::unique_ptr<NcclGroup> NcclGroup::connect(GroupPlane& control, bool spans_hosts,
                                              Seconds step_timeout, Deadline deadline,
                                              std::string& reason) {
  std::shared_ptr<const NcclLibrary> nccl;
  std::string own;
  if (is_nccl_forbidden([](const char* name) { return std::getenv(name); }))
    own = "MISTRALRS_NO_NCCL forbids NCCL";
  else
    nccl = NcclLibrary::open(own);
  reason = first_reason(control, own, deadline);
  if (!reason.empty()) return nullptr;

  // The id, behind NCCL's result and version.
  Bytes message;
  ncclUniqueId id{};
  int version = nccl->version();
  if (control.rank() == 0) {
    const ncclResult_t result = nccl->get_unique_id(&id);
    if (result != ncclSuccess)
      own = fmt::format("ncclGetUniqueId failed: {}", nccl->get_error_string(result));
    message.resize(sizeof id + sizeof version);
    std::memcpy(message.data(), &id, sizeof id);
    std::memcpy(message.data() + sizeof id, &version, sizeof version);
  }
  control.broadcast(message, deadline);
  check(message.size() == sizeof id + sizeof version, "rank 0 sends NCCL's id");
  int first_version = 0;
  std::memcpy(&id, message.data(), sizeof id);
  std::memcpy(&first_version, message.data() + sizeof id, sizeof first_version);
  if (version != first_version)
    own = fmt::format("NCCL's version code here is {}, on rank {} {}", version,
                      control.members()[0], first_version);
  reason = first_reason(control, own, deadline);
  if (!reason.empty()) return nullptr;
  return std::make_unique<LoadedNcclGroup>(control, spans_hosts, nccl, id, step_timeout, deadline);
}

}  // namespace dinfer
