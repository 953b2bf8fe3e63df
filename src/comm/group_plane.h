#pragma once

#include "bootstrap/control_plane.h"
#include "comm/host_communicator.h"
#include "comm/members.h"

namespace dinfer {

// A control plane of the members of a group alone, over their communicator for host memory, for
// what only they have to tell each other. Ranks are those of the group; errors, and what is said
// to be missing, name ranks of the job, and all of its ranks are looked after. Its waits leave
// `host` with another timeout.
class GroupPlane final : public ControlPlane {
 public:
  // Both outlive it.
  GroupPlane(ControlPlane& job, HostCommunicator& host, Members members)
      : job_(job), host_(host), members_(std::move(members)) {}

  const Members& members() const { return members_; }

  int rank() const override { return members_.rank(); }
  int size() const override { return members_.size(); }
  void broadcast(Bytes& message, Deadline deadline) override;
  std::vector<Bytes> all_gather(const Bytes& message, Deadline deadline) override;
  void barrier(Deadline deadline) override { all_gather({}, deadline); }
  void set_phase(std::string phase) override { job_.set_phase(std::move(phase)); }
  std::string state() const override { return job_.state(); }
  void check_peers() override { job_.check_peers(); }
  void fail_late(const std::vector<int>& missing, std::chrono::duration<double> waited,
                 std::string_view what) override;
  void fail_diverged(int other, std::string_view theirs, std::string_view ours) override;
  void abort(ExitCode code) override { job_.abort(code); }

 private:
  ControlPlane& job_;
  HostCommunicator& host_;
  Members members_;
};

}  // namespace dinfer
