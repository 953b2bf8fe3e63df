#include "comm/single_communicator.h"

#include <algorithm>

#include "base/error.h"

namespace dinfer {
namespace {

class SingleCommunicator final : public HostCommunicator {
 public:
  SingleCommunicator() : HostCommunicator(std::chrono::seconds(0)) {}
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string_view transport() const override { return "none"; }
  void all_reduce_sum(std::span<float>) override {}

  void all_gather(std::span<const std::byte> in, std::span<std::byte> out) override {
    check(out.size() == in.size(), "all_gather: out holds one part a rank");
    if (in.data() != out.data()) std::ranges::copy(in, out.begin());
  }

  void send(int, std::span<const std::byte>) override { check(false, "send in a group of one"); }
  void receive(int, std::span<std::byte>) override { check(false, "receive in a group of one"); }
};

}  // namespace

std::unique_ptr<HostCommunicator> make_single_communicator() {
  return std::make_unique<SingleCommunicator>();
}

}  // namespace dinfer
