#pragma once

#include <memory>

#include "bootstrap/control_plane.h"
#include "bootstrap/mpi_session.h"

namespace dinfer {

// Collective among all ranks of the session.
std::unique_ptr<ControlPlane> make_mpi_control_plane(std::shared_ptr<MpiSession> session);

}  // namespace dinfer
