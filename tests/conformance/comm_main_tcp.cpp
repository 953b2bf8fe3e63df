// The conformance program over TCP: comm_tcp RANKS [gtest options]. It becomes so many processes
// under the supervisor; every rank runs every test, and a failure on one fails all.
#include <gtest/gtest.h>

#include <cstdlib>

#include "bootstrap/supervisor.h"
#include "bootstrap/tcp_control_plane.h"
#include "comm/ring_communicator.h"
#include "comm/single_communicator.h"
#include "comm_groups.h"
#include "failure_printer.h"

namespace dinfer::test {
namespace {

constexpr std::string_view kSecret = "a secret of the conformance test";

// Where the ranks of this program meet, again for each group.
struct Place {
  Socket listener = listen_at({"127.0.0.1", 0});
  int rank = 0;
  int size = 1;
};

Place& place() {
  static Place place;
  return place;
}

std::shared_ptr<TcpSession> meet() {
  const StarPlan plan{.rank = place().rank,
                      .size = place().size,
                      .head = {"127.0.0.1", port_of(place().listener)},
                      .secret = std::string(kSecret),
                      .describe = [](int rank) { return "rank " + std::to_string(rank); }};
  Star star =
      plan.rank == 0 ? gather_ranks(place().listener, plan, soon()) : join_head(plan, soon());
  return std::make_shared<TcpSession>(plan, std::move(star), 0, Seconds(4.5));
}

std::unique_ptr<Communicator> make_ring(Seconds step_timeout, const std::vector<int>& ranks) {
  const auto session = meet();
  const auto control = make_tcp_control_plane(session);
  const Members members(ranks, place().rank);
  TcpLinks links = open_links(session, *control, std::string(kSecret), members, soon());
  if (members.size() == 1) return make_single_communicator();
  return make_ring_communicator(session, members, std::move(links), step_timeout);
}

int run_on_all_ranks() {
  print_failures_only_unless_head(place().rank);
  const int mine = RUN_ALL_TESTS();
  const auto results =
      make_tcp_control_plane(meet())->all_gather(Bytes{static_cast<std::byte>(mine)}, soon());
  for (const Bytes& result : results)
    if (result != Bytes{std::byte{0}}) return 1;
  return 0;
}

}  // namespace

std::vector<ControlImplementation> control_implementations() {
  return {{"tcp", [] { return make_tcp_control_plane(meet()); }}};
}

std::vector<CommImplementation> comm_implementations() { return {{"ring", make_ring}}; }

int job_rank() { return place().rank; }
int job_size() { return place().size; }

}  // namespace dinfer::test

int main(int argc, char** argv) {
  using dinfer::test::place;
  testing::InitGoogleTest(&argc, argv);
  place().size = argc > 1 ? std::atoi(argv[1]) : 2;
  const dinfer::Supervised self = dinfer::supervise({.ranks = place().size});
  if (self.exit_code) return *self.exit_code;
  place().rank = self.local_rank;
  return dinfer::test::run_on_all_ranks();
}
