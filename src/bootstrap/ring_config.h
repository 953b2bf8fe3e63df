#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/socket.h"

namespace dinfer {

// The file that RING_CONFIG names: one rank's place in a ring.
struct RingConfig {
  int rank = 0;
  int size = 2;
  uint16_t port = 0;  // here this rank waits for its left neighbour
  HostPort right;     // the right neighbour's address and `port`
  HostPort master;    // where rank 0 waits for all; its host is empty on a rank 0 that gives none
  std::vector<std::string> warnings;  // of fields that mean nothing here
};

// A field that is missing, malformed or cannot be is an Error(config) naming file and field; so is
// a size that is no power of two, unless `any_size`.
RingConfig parse_ring_config(const std::string& text, const std::string& file, bool any_size);
RingConfig read_ring_config(const std::string& file, bool any_size);

}  // namespace dinfer
