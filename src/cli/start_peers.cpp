#include "cli/start_peers.h"

#include "comm/members.h"

namespace dinfer {

void RankPeers::connect(const Bootstrap& boot, const Layout& layout, Device& device) {
  const int rank = boot.world.rank;
  const auto join = [&](std::vector<int> places) {
    for (int& each : places) each = layout.rank_at(each, layout.replica_of(rank));
    return timed(boot.make_communicator(device, places), calls_);
  };
  if (layout.dp > 1) {
    boot.check_devices(device);
    job_ = timed(boot.make_host_communicator(all_ranks(boot.world.size)), calls_);
  }
  if (layout.pp > 1) replica_ = join(all_ranks(layout.replica_ranks()));
  group_ = join(layout.placement.group_of(layout.place_of(rank)));
}

void RankPeers::disconnect() {
  group_.reset();
  replica_.reset();
  job_.reset();
}

std::string_view RankPeers::transport(const Bootstrap& boot, const Layout& layout) const {
  if (boot.name == "ring") return "ring";
  return layout.tp > 1 ? group_->transport() : replica().message_transport();
}

}  // namespace dinfer
