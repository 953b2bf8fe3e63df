#pragma once

#include <memory>

#include "bootstrap/control_plane.h"

namespace dinfer {

// The control plane of a rank that has no peers: nothing to wait for.
std::unique_ptr<ControlPlane> make_single_control_plane();

}  // namespace dinfer
