#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"

namespace dinfer {

using Bytes = std::vector<std::byte>;

// Small host messages among all ranks. Calls are collective, in the same order everywhere, and come
// from one thread only (the engine's), which is also the one that uses the communicators.
// A missed deadline or a dead rank is an Error(peer) that names rank, host and what was waited for.
class ControlPlane {
 public:
  virtual ~ControlPlane() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Rank 0's message reaches all; the others pass an empty one. Waiting sleeps: an idle rank uses
  // under 2% of a core and wakes within 5 ms.
  virtual void broadcast(Bytes& message, Deadline deadline) = 0;

  // Messages of all ranks, by rank; sizes may differ.
  virtual std::vector<Bytes> all_gather(const Bytes& message, Deadline deadline) = 0;

  virtual void barrier(Deadline deadline) = 0;

  // What this rank does from now on, e.g. "decode step 17": named by the error of a wait that
  // fails.
  virtual void set_phase(std::string) {}

  // This rank has done a part of a step: the others, who may wait for it, need not give up.
  virtual void note_progress() {}

  // The phase and what is waited for in it, for people: from any thread.
  virtual std::string state() const { return "alone"; }

  // Throws Error(peer) when a rank of this host has died. For a rank that waits for something else
  // than the other ranks, such as the head for requests: called every few milliseconds there.
  virtual void check_peers() {}

  // Throw the Error(peer) of a wait of another kind, such as that for a GPU: for `missing` ranks
  // that did not come, and for a rank that called something else.
  [[noreturn]] virtual void fail_late(const std::vector<int>& missing,
                                      std::chrono::duration<double> waited,
                                      std::string_view what) = 0;
  [[noreturn]] virtual void fail_diverged(int other, std::string_view theirs,
                                          std::string_view ours) = 0;

  // Ends the whole job with this exit code; does not return.
  [[noreturn]] virtual void abort(ExitCode code) = 0;
};

}  // namespace dinfer
