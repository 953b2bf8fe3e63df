#include "bootstrap/tcp_session.h"

#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <set>

#include "base/log.h"

namespace dinfer {
namespace {

World make_world(const StarPlan& plan, int nodes, const std::vector<Member>& members) {
  const int rank = plan.rank;
  const Member& self = members[static_cast<size_t>(rank)];
  World world{.rank = rank, .size = static_cast<int>(members.size()), .local_size = 0};
  world.host = self.host;
  std::set<uint64_t> machines;
  for (int r = 0; r < world.size; ++r) {
    const Member& member = members[static_cast<size_t>(r)];
    machines.insert(member.machine);
    if (member.machine != self.machine) continue;
    ++world.local_size;
    if (r < rank) ++world.local_rank;
  }
  world.ordinal = plan.local_size > 0 ? rank % plan.local_size : world.local_rank;
  world.nodes = nodes > 0 ? nodes : static_cast<int>(machines.size());
  return world;
}

// Death is seen by the pulse, on any host; nobody is watched by process id.
std::vector<Peer> peers_of(const std::vector<Member>& members) {
  std::vector<Peer> peers;
  for (const Member& member : members) peers.push_back({.host = member.host, .pid = member.pid});
  return peers;
}

bool is_crowded(const World& world) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof cores, &cores);
  return world.local_size > CPU_COUNT(&cores);
}

}  // namespace

TcpSession::TcpSession(const StarPlan& plan, Star star, int nodes,
                       std::chrono::duration<double> longest_silence)
    : world_(make_world(plan, nodes, star.members)),
      members_(std::move(star.members)),
      control_(std::move(star.control)),
      pulse_(plan.rank, std::move(star.pulse), longest_silence),
      wait_(plan.rank, peers_of(members_), is_crowded(world_)) {
  wait_.set_report(pulse_.fd(), [this] { return pulse_.loss(); });
  wait_.set_progress(pulse_.own_progress(), [this] { return pulse_.progress(); });
}

void TcpSession::abort(ExitCode code) {
  pulse_.leave(code);
  log::flush();
  std::fflush(nullptr);
  _exit(static_cast<int>(code));
}

}  // namespace dinfer
