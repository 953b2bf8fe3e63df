#pragma once

#include <memory>

#include "bootstrap/control_plane.h"
#include "bootstrap/tcp_session.h"

namespace dinfer {

std::unique_ptr<ControlPlane> make_tcp_control_plane(std::shared_ptr<TcpSession> session);

}  // namespace dinfer
