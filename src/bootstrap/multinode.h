#pragma once

#include <string>

#include "bootstrap/launcher.h"
#include "net/socket.h"

namespace dinfer {

// A node of a job that MISTRALRS_MN_* variables describe. Node 0 is the head's.
struct MultinodePlan {
  int size = 1;        // ranks of the world
  int local_size = 1;  // ranks of this node, the same on every node
  int node = 0;
  HostPort head;  // on the head its port alone

  int nodes() const { return size / local_size; }
  int first_rank() const { return node * local_size; }
};

// Reads the variables; `default_local` is the local size where none is given. A variable that is
// missing, malformed or contradicts another is an Error(config) that names both.
MultinodePlan read_multinode(const Environment& environment, int default_local);

// "rank 3 (worker 0, local rank 1)"
std::string describe_rank(const MultinodePlan& plan, int rank);

}  // namespace dinfer
