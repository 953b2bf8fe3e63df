#include "factory_tcp.h"

#include <array>
#include <cstring>
#include <optional>
#include <span>

#include "base/log.h"
#include "bootstrap/multinode.h"
#include "bootstrap/ring_config.h"
#include "bootstrap/supervisor.h"
#include "bootstrap/tcp_control_plane.h"
#include "comm/ring_communicator.h"
#include "comm/single_communicator.h"

namespace dinfer {
namespace {

// What this process knows before it has met the others.
struct Meeting {
  StarPlan star;
  Socket listener;  // on the head
  SupervisorPlan here{.ranks = 1};
  int nodes = 0;                   // 0: as many as machines
  std::optional<RingConfig> ring;  // addresses that a file gives
  Socket ring_listener;            // with `ring`
  bool head_takes_signals = false;
};

std::string loopback_or(const std::string& host) { return host.empty() ? "127.0.0.1" : host; }

Meeting plan_local(int ranks) {
  Meeting meeting;
  const Nonce random = random_nonce();
  meeting.listener = listen_at({"127.0.0.1", 0});
  meeting.star = {.size = ranks,
                  .local_size = ranks,
                  .head = {"127.0.0.1", port_of(meeting.listener)},
                  .secret = {reinterpret_cast<const char*>(random.data()), random.size()},
                  .describe = [](int rank) { return fmt::format("rank {}", rank); }};
  meeting.here.ranks = ranks;
  meeting.head_takes_signals = true;
  return meeting;
}

Meeting plan_multinode(const Environment& environment, const Security& security,
                       int default_local) {
  const MultinodePlan plan = read_multinode(environment, default_local);
  Meeting meeting;
  meeting.star = {.size = plan.size,
                  .local_size = plan.local_size,
                  .head = plan.head,
                  .secret = security.secret,
                  .describe = [plan](int rank) { return describe_rank(plan, rank); }};
  meeting.here = {.ranks = plan.local_size, .first_rank = plan.first_rank()};
  meeting.nodes = plan.nodes();
  meeting.head_takes_signals = plan.node == 0;
  if (plan.node > 0) {
    check_reachable(security, plan.head.host, "MISTRALRS_MN_WORKER_SERVER_ADDR");
    return meeting;
  }
  meeting.listener = listen_at({security.listen_host, plan.head.port});
  meeting.star.head.host = loopback_or(security.listen_host);
  return meeting;
}

Meeting plan_ring(const Environment& environment, const Security& security, bool any_size) {
  Meeting meeting;
  const RingConfig ring = read_ring_config(environment("RING_CONFIG"), any_size);
  for (const std::string& warning : ring.warnings) log::warn("{}", warning);
  meeting.star = {.rank = ring.rank,
                  .size = ring.size,
                  .local_size = 0,
                  .head = ring.master,
                  .secret = security.secret,
                  .describe = [](int rank) { return fmt::format("rank {}", rank); }};
  meeting.here.first_rank = ring.rank;
  check_reachable(security, ring.right.host, "RING_CONFIG right_ip");
  meeting.ring_listener = listen_at({security.listen_host, ring.port});
  if (ring.rank == 0)
    meeting.listener = listen_at({security.listen_host, ring.master.port});
  else
    check_reachable(security, ring.master.host, "RING_CONFIG master_ip");
  meeting.ring = ring;
  return meeting;
}

Meeting plan_meeting(const BootstrapOptions& options, const BootstrapChoice& choice,
                     const Environment& environment) {
  if (choice.name == "local") return plan_local(choice.ranks);
  const Security security = decide_security(options.security, environment);
  return choice.name == "multinode" ? plan_multinode(environment, security, choice.ranks)
                                    : plan_ring(environment, security, options.ring_any_size);
}

// Each rank's right_port must be its right neighbour's port: told by all ranks to all, so that all
// end alike. That the hosts are right, too, is seen when the neighbours meet.
void check_closure(const RingConfig& ring, ControlPlane& control, Deadline deadline) {
  const std::array<uint16_t, 2> own{ring.port, ring.right.port};
  const auto bytes = std::as_bytes(std::span(own));
  std::vector<std::array<uint16_t, 2>> ports;
  for (const Bytes& theirs : control.all_gather({bytes.begin(), bytes.end()}, deadline)) {
    check(theirs.size() == sizeof own, "a rank tells its two ports");
    std::memcpy(&ports.emplace_back(), theirs.data(), sizeof own);
  }
  for (size_t rank = 0; rank < ports.size(); ++rank) {
    const size_t right = (rank + 1) % ports.size();
    if (ports[rank][1] != ports[right][0])
      fail(ExitCode::config,
           "the ring does not close: right_port of rank {} is {}, but port of rank {} is {}", rank,
           ports[rank][1], right, ports[right][0]);
  }
}

// A rank that cannot go on says so, since the others need not wait for it.
template <class Work>
auto or_leave(TcpSession& session, Work&& work) {
  try {
    return work();
  } catch (const Error& error) {
    session.leave(error.code());
    throw;
  }
}

// The ring that RING_CONFIG tells, of all ranks.
RingLinks connect_given_ring(const Meeting& meeting, TcpSession& session, ControlPlane& control,
                             Deadline deadline) {
  const World& world = session.world();
  return or_leave(session, [&] {
    check_closure(*meeting.ring, control, deadline);
    return close_ring(meeting.ring_listener, meeting.ring->right, meeting.star.secret, session,
                      Members(all_ranks(world.size), world.rank), deadline);
  });
}

// Makes the host communicators of a job; used from one thread.
class TcpCommunicators {
 public:
  TcpCommunicators(std::shared_ptr<TcpSession> session, ControlPlane& control, std::string secret,
                   const BootstrapOptions& options)
      : session_(std::move(session)),
        control_(control),
        secret_(std::move(secret)),
        start_timeout_(options.start_timeout),
        step_timeout_(options.step_timeout) {}

  // The first group of all ranks takes this ring.
  void set_given(RingLinks links) { given_ = std::move(links); }

  std::unique_ptr<HostCommunicator> make(const Members& members) {
    const int size = session_->world().size;
    if (size == 1) return make_single_communicator();
    const Deadline deadline = Deadline::after(start_timeout_);
    std::optional<RingLinks> given;
    if (members.size() == size) given = std::exchange(given_, std::nullopt);
    TcpLinks links = or_leave(*session_, [&] {
      return open_links(session_, control_, secret_, members, deadline, std::move(given));
    });
    if (members.size() == 1) return make_single_communicator();
    return make_ring_communicator(session_, members, std::move(links), step_timeout_);
  }

 private:
  std::shared_ptr<TcpSession> session_;
  ControlPlane& control_;
  std::string secret_;
  std::chrono::duration<double> start_timeout_, step_timeout_;
  std::optional<RingLinks> given_;
};

}  // namespace

TcpBootstrap make_tcp(const BootstrapOptions& options, const BootstrapChoice& choice,
                      const Environment& environment) {
  Meeting meeting = plan_meeting(options, choice, environment);
  meeting.star.rank = meeting.here.first_rank;
  TcpBootstrap tcp;
  Bootstrap& boot = tcp.boot;
  if (meeting.here.ranks > 1) {
    meeting.here.listener = &meeting.listener;
    const Supervised self = supervise(meeting.here);
    boot.exit_code = self.exit_code;
    if (self.exit_code) return tcp;
    meeting.star.rank += self.local_rank;
  }
  const StarPlan& plan = meeting.star;
  const Deadline deadline = Deadline::after(options.start_timeout);
  Star star =
      plan.rank == 0 ? gather_ranks(meeting.listener, plan, deadline) : join_head(plan, deadline);
  meeting.listener.close();
  const auto session = std::make_shared<TcpSession>(plan, std::move(star), meeting.nodes,
                                                    kSilenceShare * options.stall_timeout);
  boot.world = session->world();
  boot.name = choice.name;
  boot.reason = choice.reason;
  boot.sharing = choice.sharing;
  boot.head_takes_signals = meeting.head_takes_signals;
  boot.control = make_tcp_control_plane(session);
  const auto communicators =
      std::make_shared<TcpCommunicators>(session, *boot.control, plan.secret, options);
  if (meeting.ring && boot.world.size > 1)
    communicators->set_given(connect_given_ring(meeting, *session, *boot.control, deadline));
  tcp.make_host = [communicators](const Members& members) { return communicators->make(members); };
  boot.finish = [session, control = boot.control.get()](Deadline end) {
    control->barrier(end);
    session->leave();
  };
  return tcp;
}

}  // namespace dinfer
