// The conformance program of a build without MPI: one rank.
#include <gtest/gtest.h>

#include "bootstrap/single_control_plane.h"
#include "comm/single_communicator.h"
#include "comm_groups.h"

namespace dinfer::test {

std::vector<ControlImplementation> control_implementations() {
  return {{"single", make_single_control_plane}};
}

std::vector<CommImplementation> comm_implementations() {
  return {{"single", [](Seconds, const std::vector<int>&) { return make_single_communicator(); }}};
}

int job_rank() { return 0; }
int job_size() { return 1; }

}  // namespace dinfer::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
