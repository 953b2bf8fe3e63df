// The conformance program under mpirun: every rank runs every test, and a failure on one fails all.
#include <gtest/gtest.h>

#include <iostream>

#include "bootstrap/mpi_control_plane.h"
#include "bootstrap/mpi_session.h"
#include "bootstrap/single_control_plane.h"
#include "comm/mpi_communicator.h"
#include "comm/single_communicator.h"
#include "comm_groups.h"

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

// What ranks other than 0 print: failures only.
class FailurePrinter : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    std::cerr << "rank " << rank_ << ": " << (test ? test->name() : "set-up") << ": "
              << (result.file_name() ? result.file_name() : "") << ":" << result.line_number()
              << ": " << result.summary() << std::endl;
  }

 private:
  int rank_;
};

int run_on_all_ranks() {
  const int rank = session()->world().rank;
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) {
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(rank));
  }
  const int mine = RUN_ALL_TESTS();
  const auto control = make_mpi_control_plane(session());
  const auto results = control->all_gather(Bytes{static_cast<std::byte>(mine)}, soon());
  session()->finish();
  for (const Bytes& result : results)
    if (result != Bytes{std::byte{0}}) return 1;
  return 0;
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
  return dinfer::test::run_on_all_ranks();
}
