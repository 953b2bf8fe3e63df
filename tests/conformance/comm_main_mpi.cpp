// The conformance program under mpirun: every rank runs every test, and a failure on one fails all.
#include <gtest/gtest.h>

#include "bootstrap/mpi_control_plane.h"
#include "bootstrap/mpi_session.h"
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

CommImplementation implementation(const char* name, LocalPath path) {
  const auto make = [path](Seconds timeout, const std::vector<int>& members) {
    if (job_size() == 1) return make_single_communicator();
    return make_mpi_communicator(session(), Members(members, job_rank()), timeout, path);
  };
  return {name, make};
}

}  // namespace

std::vector<ControlImplementation> control_implementations() {
  return {{"mpi", [] { return make_mpi_control_plane(session()); }}};
}

std::vector<CommImplementation> comm_implementations() {
  return {implementation("mpi_shared_memory", LocalPath::shared_memory),
          implementation("mpi_messages", LocalPath::messages)};
}

int job_rank() { return session()->world().rank; }
int job_size() { return session()->world().size; }

}  // namespace dinfer::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  dinfer::test::session() = dinfer::MpiSession::start(std::chrono::seconds(60));
  return dinfer::test::run_on_all_ranks(dinfer::test::session());
}
