#pragma once

#include "bootstrap/launcher.h"
#include "comm/host_communicator.h"
#include "comm/members.h"
#include "factory.h"

namespace dinfer {

using HostCommunicatorMaker =
    std::function<std::unique_ptr<HostCommunicator>(const Members& members)>;

struct TcpBootstrap {
  Bootstrap boot;                   // all but make_communicator
  HostCommunicatorMaker make_host;  // collective, each rank with its own group
};

// The bootstraps that need nothing but TCP: local, multinode, ring. Where this command stands for
// several ranks, they are made here, and in the process that supervises them the result holds only
// an exit code.
TcpBootstrap make_tcp(const BootstrapOptions& options, const BootstrapChoice& choice,
                      const Environment& environment);

}  // namespace dinfer
