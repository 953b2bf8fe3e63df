#pragma once

#include <string>

#include "bootstrap/launcher.h"
#include "net/socket.h"

namespace dinfer {

struct SecurityWishes {
  std::string secret_file;        // --secret-file
  bool no_auth = false;           // --insecure-no-auth
  std::string control_interface;  // --control-interface: a name or an address
};

// How ranks of several hosts trust each other.
struct Security {
  std::string secret;  // empty: none
  bool loopback_only = false;
  std::string listen_host;  // empty: every address
};

// A secret comes from the file or from DINFER_SECRET. Without one, ranks talk on this machine only,
// unless the user says otherwise, which is warned of.
Security decide_security(const SecurityWishes& wishes, const Environment& environment);

// Error(config) for a host that this job must not talk to.
void check_reachable(const Security& security, const std::string& host, const std::string& what);

}  // namespace dinfer
