#include "bootstrap/security.h"

#include "base/error.h"
#include "base/log.h"
#include "net/interfaces.h"
#include "net/secret.h"

namespace dinfer {

Security decide_security(const SecurityWishes& wishes, const Environment& environment) {
  Security security;
  if (!wishes.secret_file.empty()) {
    security.secret = read_secret_file(wishes.secret_file);
  } else if (const char* secret = environment("DINFER_SECRET")) {
    security.secret = secret;
    check_secret(security.secret, "DINFER_SECRET");
  } else if (wishes.no_auth) {
    log::warn(
        "--insecure-no-auth: whoever reaches the ports of this job can join it, read prompts and "
        "answers, and end it");
  } else {
    security.loopback_only = true;
  }
  if (!wishes.control_interface.empty())
    security.listen_host = address_of_interface(wishes.control_interface);
  else if (security.loopback_only)
    security.listen_host = "127.0.0.1";
  if (!security.listen_host.empty())
    check_reachable(security, security.listen_host, "--control-interface");
  return security;
}

void check_reachable(const Security& security, const std::string& host, const std::string& what) {
  if (!security.loopback_only || resolves_to_loopback(host)) return;
  fail(ExitCode::config,
       "{} {}: ranks of other hosts are trusted only with a secret: give all of them the same "
       "--secret-file (`openssl rand -hex 32 > FILE; chmod 600 FILE`) or DINFER_SECRET, or "
       "--insecure-no-auth on a network of your own",
       what, host);
}

}  // namespace dinfer
