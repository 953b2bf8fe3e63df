#pragma once

#include <memory>
#include <string_view>

#include "cli/start_layout.h"
#include "comm/communicator.h"
#include "comm/timed_communicator.h"
#include "device/device.h"
#include "factory.h"

namespace dinfer {

// Whom a rank computes with, and the time that it spends in calls to them.
class RankPeers {
 public:
  // Collective. Where it fails, it does on all ranks alike, or at its end.
  void connect(const Bootstrap& boot, const Layout& layout, Device& device);
  void disconnect();

  Communicator& group() const { return *group_; }  // the ranks that share layers
  Communicator& replica() const { return replica_ ? *replica_ : *group_; }
  Communicator& job() const { return job_ ? *job_ : replica(); }
  const CallTime& calls() const { return calls_; }

  // What tensors go through, as the layout line has it.
  std::string_view transport(const Bootstrap& boot, const Layout& layout) const;

 private:
  CallTime calls_;
  std::unique_ptr<Communicator> job_;      // where there are several replicas
  std::unique_ptr<Communicator> replica_;  // where there are several stages
  std::unique_ptr<Communicator> group_;
};

}  // namespace dinfer
