#include "net/interfaces.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>

#include "net/socket.h"

namespace dinfer {
namespace {

using Interfaces = std::unique_ptr<ifaddrs, decltype(&freeifaddrs)>;

Interfaces list_interfaces() {
  ifaddrs* list = nullptr;
  return {getifaddrs(&list) == 0 ? list : nullptr, &freeifaddrs};
}

// Numeric; empty for what is no IP address or means something on this machine only.
std::string address_of(const ifaddrs& interface) {
  const sockaddr* address = interface.ifa_addr;
  if (!address || (address->sa_family != AF_INET && address->sa_family != AF_INET6)) return "";
  const bool v4 = address->sa_family == AF_INET;
  if (!v4 && IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr))
    return "";
  std::array<char, NI_MAXHOST> text{};
  const socklen_t length = v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  return getnameinfo(address, length, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) == 0
             ? text.data()
             : "";
}

}  // namespace

std::string address_of_interface(const std::string& name) {
  const Interfaces list = list_interfaces();
  std::string found;
  for (const ifaddrs* each = list.get(); each; each = each->ifa_next) {
    if (name != each->ifa_name) continue;
    const std::string address = address_of(*each);
    const bool v4 = !address.empty() && each->ifa_addr->sa_family == AF_INET;
    if (found.empty() || (v4 && found.find(':') != std::string::npos)) found = address;
  }
  return found.empty() ? name : found;
}

std::vector<std::string> own_addresses() {
  const Interfaces list = list_interfaces();
  std::vector<std::string> found;
  for (const ifaddrs* each = list.get(); each; each = each->ifa_next) {
    const std::string address = (each->ifa_flags & IFF_UP) != 0U ? address_of(*each) : "";
    if (!address.empty()) found.push_back(address);
  }
  std::ranges::stable_partition(found, [](const auto& each) { return !is_loopback(each); });
  return found;
}

}  // namespace dinfer
