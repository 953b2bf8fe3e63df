#pragma once

#include <chrono>

#include "bootstrap/peer_wait.h"
#include "bootstrap/pulse.h"
#include "bootstrap/star.h"
#include "bootstrap/world.h"

namespace dinfer {

// The ranks of a job without MPI, once they have met: a connection for control messages and one for
// signs of life between the head and each of them.
class TcpSession {
 public:
  // `nodes` for the world; 0: the machines that the ranks run on.
  TcpSession(const StarPlan& plan, Star star, int nodes,
             std::chrono::duration<double> longest_silence);

  const World& world() const { return world_; }
  const Member& member(int rank) const { return members_[static_cast<size_t>(rank)]; }
  PeerWait& wait() { return wait_; }

  // On the head that with `rank`, elsewhere the one with the head.
  Channel& control(int rank) { return control_[world_.rank == 0 ? static_cast<size_t>(rank) : 0]; }

  // The last step: a clean end, once all ranks have agreed on it, or one with an error, which the
  // others' waits then end with.
  void leave(ExitCode code = ExitCode::ok) { pulse_.leave(code); }

  // Ends this process with `code` after telling the others, which end with it, too.
  [[noreturn]] void abort(ExitCode code);

 private:
  World world_;
  std::vector<Member> members_;
  std::vector<Channel> control_;
  Pulse pulse_;
  PeerWait wait_;
};

}  // namespace dinfer
