// The conformance program under mpirun: every rank runs every test, and a failure on one fails all.
#include <gtest/gtest.h>

#include "bootstrap/mpi_control_plane.h"
#include "bootstrap/mpi_session.h"
#include "bootstrap/single_control_plane.h"
#include "comm/mpi_communicator.h"
#include "comm/single_communicator.h"
#include "comm_groups.h"
#include "mpi_main.h"

namespace dinfer::test {
namespace {

// Tests are instantiated before main() starts MPI, but make their groups after.
std::shared_ptr<MpiSession>& session() {
  static std::shared_ptr<MpiSession> session;
  return session;
}

std::unique_ptr<Communicator> make_comm(Seconds step_timeout, LocalPath path) {
  if (session()->world().size == 1) return make_single_communicator();
  return make_mpi_communicator(session(), step_timeout, path);
}

}  // namespace

std::vector<ControlImplementation> control_implementations() {
  return {{"mpi", [] { return make_mpi_control_plane(session()); }}};
}

std::vector<CommImplementation> comm_implementations() {
  return {{"mpi_shared_memory", [](Seconds t) { return make_comm(t, LocalPath::shared_memory); }},
          {"mpi_messages", [](Seconds t) { return make_comm(t, LocalPath::messages); }}};
}

}  // namespace dinfer::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  dinfer::test::session() = dinfer::MpiSession::start(std::chrono::seconds(60));
  return dinfer::test::run_on_all_ranks(dinfer::test::session());
}
