#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "bootstrap/control_plane.h"
#include "comm/communicator.h"

namespace dinfer::test {

using Seconds = std::chrono::duration<double>;

inline Deadline soon() { return Deadline::after(std::chrono::seconds(30)); }

// One implementation of a seam, as this process sees it: each call makes a new one.
template <class Seam, class... Arguments>
struct Implementation {
  std::string name;
  std::function<std::unique_ptr<Seam>(Arguments...)> make;

  friend void PrintTo(const Implementation& self, std::ostream* out) { *out << self.name; }
};

using ControlImplementation = Implementation<ControlPlane>;
// Step timeout, members: of all ranks at once, each with its own group.
using CommImplementation = Implementation<Communicator, Seconds, std::vector<int>>;

// What the program under test offers: defined beside its main().
std::vector<ControlImplementation> control_implementations();
std::vector<CommImplementation> comm_implementations();
int job_rank();
int job_size();

}  // namespace dinfer::test
