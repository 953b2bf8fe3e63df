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
  return {{"single", [](Seconds) { return make_single_communicator(); }}};
}

}  // namespace dinfer::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
