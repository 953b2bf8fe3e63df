#include "bootstrap/security.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <memory>

#include <spdlog/spdlog.h>

#include "base/error.h"
#include "net/secret.h"

namespace dinfer {
namespace {

// The address of a network interface, IPv4 before IPv6; the text itself where it names none.
std::string address_of_interface(const std::string& name) {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return name;
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, &freeifaddrs);
  for (const int family : {AF_INET, AF_INET6}) {
    for (const ifaddrs* each = list; each; each = each->ifa_next) {
      if (name != each->ifa_name || !each->ifa_addr || each->ifa_addr->sa_family != family)
        continue;
      std::array<char, NI_MAXHOST> text{};
      const socklen_t length =
          family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
      if (getnameinfo(each->ifa_addr, length, text.data(), text.size(), nullptr, 0,
                      NI_NUMERICHOST) == 0)
        return text.data();
    }
  }
  return name;
}

}  // namespace

Security decide_security(const SecurityWishes& wishes, const Environment& environment) {
  Security security;
  if (!wishes.secret_file.empty()) {
    security.secret = read_secret_file(wishes.secret_file);
  } else if (const char* secret = environment("DINFER_SECRET")) {
    security.secret = secret;
    check_secret(security.secret, "DINFER_SECRET");
  } else if (wishes.no_auth) {
    spdlog::warn(
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
