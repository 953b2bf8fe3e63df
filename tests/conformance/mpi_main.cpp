#include "mpi_main.h"

#include <gtest/gtest.h>

#include "bootstrap/mpi_control_plane.h"
#include "failure_printer.h"

namespace dinfer::test {
int run_on_all_ranks(const std::shared_ptr<MpiSession>& session) {
  print_failures_only_unless_head(session->world().rank);
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
