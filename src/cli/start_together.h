#pragma once

#include <functional>

#include "bootstrap/control_plane.h"
#include "bootstrap/world.h"
#include "cli/options.h"

namespace dinfer {

// An error that all ranks know of, so that they can end together: `message` is for the head to
// print, once for the whole job.
class JointError : public Error {
 public:
  using Error::Error;
};

// --start-timeout from now on.
Deadline start_deadline(const Options& options);

// Runs `work` on every rank, then all tell each other how it went. Where any failed, all throw the
// JointError of the lowest such rank. `work` must not use the control plane itself.
void together(ControlPlane& control, const World& world, Deadline deadline,
              const std::function<void()>& work);

}  // namespace dinfer
