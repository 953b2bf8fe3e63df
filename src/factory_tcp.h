#pragma once

#include "bootstrap/launcher.h"
#include "factory.h"

namespace dinfer {

// The bootstraps that need nothing but TCP: local, multinode, ring. Where this command stands for
// several ranks, they are made here, and in the process that supervises them the result holds only
// an exit code.
Bootstrap make_tcp(const BootstrapOptions& options, const BootstrapChoice& choice,
                   const Environment& environment);

}  // namespace dinfer
