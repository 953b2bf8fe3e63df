#include "mpi_main.h"

#include <gtest/gtest.h>

#include <iostream>

#include "bootstrap/mpi_control_plane.h"

namespace dinfer::test {
namespace {

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

}  // namespace

int run_on_all_ranks(const std::shared_ptr<MpiSession>& session) {
  const int rank = session->world().rank;
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) {
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(rank));
  }
  const int mine = RUN_ALL_TESTS();
  const auto control = make_mpi_control_plane(session);
  const auto results = control->all_gather(Bytes{static_cast<std::byte>(mine)},
                                           Deadline::after(std::chrono::seconds(30)));
  session->finish();
  for (const Bytes& result : results)
    if (result != Bytes{std::byte{0}}) return 1;
  return 0;
}

}  // namespace dinfer::test
