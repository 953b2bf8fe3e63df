#include "comm/ring_communicator.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "comm/ring_stream.h"

namespace dinfer {
namespace {

// Up to here all ranks see all values, which takes half the hops; beyond, each adds up a share,
// which moves fewer bytes. Bytes that a rank sends.
constexpr size_t kWholeBytes = size_t{128} << 10;

std::string describe(RingOperation operation, uint32_t sequence, uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kNames = {
      "an unknown call", "all_reduce_sum", "all_reduce_sum", "all_gather", "another call"};
  const auto index = static_cast<size_t>(operation);
  return fmt::format("{} {} of {} bytes", kNames[index < kNames.size() ? index : 0], sequence,
                     bytes);
}

class RingCommunicator final : public HostCommunicator {
 public:
  RingCommunicator(std::shared_ptr<TcpSession> session, Members members, TcpLinks links,
                   std::chrono::duration<double> step_timeout)
      : HostCommunicator(step_timeout),
        session_(std::move(session)),
        members_(std::move(members)),
        left_{.socket = std::move(links.ring.left)},
        right_{.socket = std::move(links.ring.right)},
        mail_(std::move(links.mail)) {}

  int rank() const override { return members_.rank(); }
  int size() const override { return members_.size(); }
  std::string_view transport() const override { return "ring"; }

  void all_reduce_sum(std::span<float> values) override {
    if (values.size_bytes() * static_cast<size_t>(size() - 1) <= kWholeBytes)
      sum_whole(values);
    else
      sum_shares(values);
  }

  void all_gather(std::span<const std::byte> in, std::span<std::byte> out) override {
    check(out.size() == in.size() * static_cast<size_t>(size()),
          "all_gather: out holds one part a rank");
    go_round(RingOperation::gather, in, out, "all_gather");
  }

  void send(int destination, std::span<const std::byte> data) override {
    check(destination >= 0 && destination < size() && destination != rank(), "send: to a peer");
    mail_->send(members_[destination], data, deadline());
  }

  void receive(int source, std::span<std::byte> data) override {
    check(source >= 0 && source < size() && source != rank(), "receive: from a peer");
    mail_->receive(members_[source], data, deadline());
  }

 private:
  int neighbour(int step) const { return (rank() + size() + step) % size(); }

  // Rank r's `in` arrives at out[r * in.size()].
  void go_round(RingOperation operation, std::span<const std::byte> in, std::span<std::byte> out,
                std::string_view what) {
    hops_.clear();
    for (int step = 1; step < size(); ++step) {
      const auto origin = static_cast<size_t>(neighbour(-step));
      hops_.push_back(
          {.into = out.subspan(origin * in.size(), in.size()), .origin = static_cast<int>(origin)});
    }
    std::ranges::copy(in, out.begin() + static_cast<ptrdiff_t>(rank() * in.size()));
    run(operation, in.size(), in, hops_, what);
  }

  void sum_whole(std::span<float> values) {
    parts_.resize(values.size() * static_cast<size_t>(size()));
    go_round(RingOperation::sum, std::as_bytes(values), std::as_writable_bytes(std::span(parts_)),
             "all_reduce_sum");
    std::copy_n(parts_.begin(), values.size(), values.begin());
    for (int r = 1; r < size(); ++r) {
      const float* addend = parts_.data() + r * values.size();
      for (size_t i = 0; i < values.size(); ++i) values[i] += addend[i];
    }
  }

  void sum_shares(std::span<float> values) {
    const auto share = [&](int step) {
      const auto r = static_cast<size_t>(neighbour(step));
      const size_t begin = values.size() * r / size();
      return std::as_writable_bytes(
          values.subspan(begin, values.size() * (r + 1) / size() - begin));
    };
    hops_.clear();
    for (int step = 1; step < size(); ++step)
      hops_.push_back({.into = share(-step), .add = true, .origin = neighbour(-step)});
    for (int step = 0; step < size() - 1; ++step)
      hops_.push_back({.into = share(-step), .origin = neighbour(-1)});
    run(RingOperation::sum_in_shares, values.size_bytes(), share(0), hops_, "all_reduce_sum");
  }

  void run(RingOperation operation, uint64_t bytes, std::span<const std::byte> own,
           std::span<const RingHop> hops, std::string_view what) {
    const uint32_t sequence = right_.sent;
    RingStream stream(operation, bytes, own, hops, right_, left_, scratch_);
    session_->wait().until([&] { return stream.advance() || stream.stranger(); },
                           [&] { return std::vector<int>{members_[stream.awaited(neighbour(1))]}; },
                           deadline(), what, 0, stream.wake());
    const RingHeader* stranger = stream.stranger();
    if (!stranger) return;
    // A neighbour's warning names the rank; so that it goes all the way round, pass it on.
    const bool warned = stranger->operation == RingOperation::out_of_step &&
                        stranger->bytes < static_cast<uint64_t>(size());
    const int other = warned ? static_cast<int>(stranger->bytes) : hops.front().origin;
    stream.warn_right(other);
    session_->wait().fail_diverged(
        members_[other],
        describe(stranger->operation, stranger->sequence, warned ? 0 : stranger->bytes),
        describe(operation, sequence, bytes));
  }

  std::shared_ptr<TcpSession> session_;
  Members members_;
  RingLink left_, right_;
  std::unique_ptr<TcpMail> mail_;
  std::vector<RingHop> hops_;
  std::vector<float> parts_;
  std::vector<std::byte> scratch_;
};

}  // namespace

std::unique_ptr<HostCommunicator> make_ring_communicator(
    std::shared_ptr<TcpSession> session, Members members, TcpLinks links,
    std::chrono::duration<double> step_timeout) {
  return std::make_unique<RingCommunicator>(std::move(session), std::move(members),
                                            std::move(links), step_timeout);
}

}  // namespace dinfer
