#pragma once

#include <string>
#include <vector>

namespace dinfer {

// The address of a network interface, IPv4 before IPv6; the text itself where it names none.
std::string address_of_interface(const std::string& name);

// Numeric addresses by which others may reach this machine, loopback last.
std::vector<std::string> own_addresses();

}  // namespace dinfer
