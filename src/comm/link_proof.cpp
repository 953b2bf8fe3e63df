#include "comm/link_proof.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"

namespace dinfer {
namespace {

constexpr size_t kMessage = size_t{16} << 20;
constexpr int kTimed = 4;  // messages, after one that is not

std::vector<std::byte> pattern_of(int rank) {
  std::vector<std::byte> pattern(kMessage);
  for (size_t i = 0; i < pattern.size(); ++i)
    pattern[i] =
        static_cast<std::byte>((i * 31 + (i >> 11) + static_cast<size_t>(rank) * 57 + 1) & 255);
  return pattern;
}

class Proof {
 public:
  // `first`: the rank of the job that is rank 0 of `all`.
  Proof(Communicator& all, Device& device, int first)
      : all_(all), device_(device), first_(first), memory_(device.allocate(kMessage)) {}

  // GB/s; on the sender 0.
  double prove(int from, int to) {
    if (all_.rank() == from) {
      device_.copy_in(memory_->data(), pattern_of(from));
      for (int message = 0; message <= kTimed; ++message)
        all_.send(to, {memory_->data(), kMessage});
      device_.synchronize();
      return 0;
    }
    all_.receive(from, {memory_->data(), kMessage});
    device_.synchronize();
    const auto begin = std::chrono::steady_clock::now();
    for (int message = 0; message < kTimed; ++message)
      all_.receive(from, {memory_->data(), kMessage});
    device_.synchronize();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    std::vector<std::byte> received(kMessage);
    device_.copy_out(received, memory_->data());
    device_.synchronize();
    if (received != pattern_of(from))
      fail(ExitCode::device,
           "what rank {} sent to rank {} ({}) by {} came as something else: the link between their "
           "devices does not work; --no-p2p goes through host memory",
           first_ + from, first_ + to, device_.name(), all_.message_transport());
    return static_cast<double>(kTimed * kMessage) / time.count() * 1e-9;
  }

 private:
  Communicator& all_;
  Device& device_;
  int first_;
  std::unique_ptr<Buffer> memory_;
};

std::string text_of(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

void prove_links(Communicator& all, Device& device, ControlPlane& control, int stage_ranks,
                 Deadline deadline) {
  const std::string own = device.name();
  const auto name = std::as_bytes(std::span(own));
  const std::vector<Bytes> names = control.all_gather({name.begin(), name.end()}, deadline);
  const bool has_gpus = std::ranges::any_of(
      names, [](const Bytes& each) { return text_of(each).starts_with("cuda"); });
  if (!has_gpus) return;
  // [up, down]: from the stage before, from the one after. Every other border at a time.
  std::array<double, 2> speeds{};
  Proof proof(all, device, control.rank() - all.rank());
  for (const int parity : {0, 1}) {
    const int stage = all.rank() / stage_ranks;
    const bool is_lower = stage % 2 == parity;
    const int peer = all.rank() + (is_lower ? stage_ranks : -stage_ranks);
    if (peer < 0 || peer >= all.size()) continue;
    const int lower = std::min(all.rank(), peer), upper = std::max(all.rank(), peer);
    const double up = proof.prove(lower, upper), down = proof.prove(upper, lower);
    if (is_lower)
      speeds[1] = down;
    else
      speeds[0] = up;
  }
  const auto bytes = std::as_bytes(std::span(speeds));
  const std::vector<Bytes> results = control.all_gather({bytes.begin(), bytes.end()}, deadline);
  if (control.rank() != 0) return;
  const auto log = [&](int from, int to, size_t direction) {
    const auto receiver = static_cast<size_t>(to);
    std::array<double, 2> measured{};
    check(results[receiver].size() == sizeof measured, "a rank tells two speeds");
    std::memcpy(&measured, results[receiver].data(), sizeof measured);
    log::info("link: {} -> {} {} {:.3g} GB/s", text_of(names[static_cast<size_t>(from)]),
              text_of(names[receiver]), all.message_transport(), measured[direction]);
  };
  for (int rank = 0; rank < control.size(); ++rank) {
    if (rank % all.size() + stage_ranks >= all.size()) continue;  // in the last stage
    log(rank, rank + stage_ranks, 0);
    log(rank + stage_ranks, rank, 1);
  }
}

}  // namespace dinfer
