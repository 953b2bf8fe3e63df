#include "comm/mpi_communicator.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/error.h"
#include "bootstrap/mpi_requests.h"
#include "comm/mpi_mail.h"
#include "comm/shared_collectives.h"
#include "comm/mpi_local_mail.h"

namespace dinfer {
namespace {

// Up to here every rank sends all it has to every other: one trip. Beyond, each rank adds one
// share.
constexpr size_t kWholeBytes = size_t{16} << 10;
// Longer data is reduced in blocks, which bounds the memory for parts on the way.
constexpr size_t kBlockFloats = size_t{4} << 20;

// Collectives and messages do not match each other.
enum Tag : int { kCollectives = 1, kMessages };

class MpiCommunicator final : public HostCommunicator {
 public:
  MpiCommunicator(std::shared_ptr<MpiSession> session, Members members,
                  std::chrono::duration<double> step_timeout, LocalPath local_path)
      : HostCommunicator(step_timeout),
        session_(std::move(session)),
        members_(std::move(members)),
        comm_(session_->duplicate()),
        requests_(comm_, session_->wait(), kCollectives),
        mail_(comm_, session_->wait(), kMessages) {
    if (local_path == LocalPath::messages) return;
    const bool has_places = size() <= MpiLocalMail::kMostRanks;
    const size_t collectives = SharedCollectives::segment_bytes(size());
    segment_ = session_->share(collectives + (has_places ? MpiLocalMail::segment_bytes(size()) : 0),
                               collectives + (has_places ? MpiLocalMail::labels_bytes(size()) : 0),
                               members_.ranks());
    if (!segment_) return;
    shared_.emplace(segment_->bytes(), members_, session_->wait(), [this] { mail_.progress(); });
    if (has_places) places_.emplace(*segment_, collectives, members_, session_->wait(), mail_);
  }

  int rank() const override { return members_.rank(); }
  int size() const override { return members_.size(); }
  std::string_view transport() const override { return "mpi"; }

  void all_reduce_sum(std::span<float> values) override {
    if (shared_) return shared_->all_reduce_sum(values, deadline());
    for (size_t begin = 0; begin < values.size(); begin += kBlockFloats) {
      const auto block = values.subspan(begin, std::min(kBlockFloats, values.size() - begin));
      if (block.size_bytes() <= kWholeBytes)
        reduce_whole(block);
      else
        reduce_shares(block);
    }
  }

  void all_gather(std::span<const std::byte> in, std::span<std::byte> out) override {
    check(out.size() == in.size() * static_cast<size_t>(size()),
          "all_gather: out holds one part a rank");
    if (shared_) return shared_->all_gather(in, out, deadline());
    for (const int peer : peers()) {
      receive_from(peer, out.subspan(peer * in.size(), in.size()));
      send_to(peer, in);
    }
    std::ranges::copy(in, out.begin() + static_cast<ptrdiff_t>(rank() * in.size()));
    requests_.wait(deadline(), "all_gather");
  }

  void send(int destination, std::span<const std::byte> data) override {
    check(destination >= 0 && destination < size() && destination != rank(), "send: to a peer");
    if (places_) return places_->send(destination, data, deadline());
    mail_.send(members_[destination], data, deadline());
  }

  void receive(int source, std::span<std::byte> data) override {
    check(source >= 0 && source < size() && source != rank(), "receive: from a peer");
    if (places_) return places_->receive(source, data, deadline());
    mail_.receive(members_[source], data, deadline());
  }

 private:
  // All other ranks, starting with the next one, so that not all ranks serve the same one first.
  std::vector<int> peers() const {
    std::vector<int> others;
    for (int step = 1; step < size(); ++step) others.push_back((rank() + step) % size());
    return others;
  }

  // By ranks of the group; MPI's communicator has the ranks of the job.
  void send_to(int peer, std::span<const std::byte> data) { requests_.send(members_[peer], data); }
  void receive_from(int peer, std::span<std::byte> data) {
    requests_.receive(members_[peer], data);
  }

  // The floats of a block of `count` that rank r adds up.
  std::span<float> share(std::span<float> block, int r) const {
    const size_t begin = block.size() * r / size();
    return block.subspan(begin, block.size() * (r + 1) / size() - begin);
  }

  void reduce_whole(std::span<float> block) {
    receive_parts(block);
    for (const int peer : peers()) send_to(peer, std::as_bytes(block));
    requests_.wait(deadline(), "all_reduce_sum");
    add_parts(block);
  }

  void reduce_shares(std::span<float> block) {
    const std::span<float> mine = share(block, rank());
    receive_parts(mine);
    for (const int peer : peers()) send_to(peer, std::as_bytes(share(block, peer)));
    requests_.wait(deadline(), "all_reduce_sum");
    add_parts(mine);
    for (const int peer : peers()) {
      receive_from(peer, std::as_writable_bytes(share(block, peer)));
      send_to(peer, std::as_bytes(mine));
    }
    requests_.wait(deadline(), "all_reduce_sum");
  }

  // Posts the receives of every peer's version of `mine` into parts_, rank after rank.
  void receive_parts(std::span<float> mine) {
    parts_.resize(mine.size() * static_cast<size_t>(size()));
    for (const int peer : peers()) receive_from(peer, std::as_writable_bytes(part(peer, mine)));
  }

  // mine += parts, in the order of the ranks.
  void add_parts(std::span<float> mine) {
    std::ranges::copy(mine, part(rank(), mine).begin());
    std::ranges::copy(part(0, mine), mine.begin());
    for (int r = 1; r < size(); ++r) {
      const std::span<const float> addend = part(r, mine);
      for (size_t i = 0; i < mine.size(); ++i) mine[i] += addend[i];
    }
  }

  std::span<float> part(int r, std::span<float> mine) {
    return std::span(parts_).subspan(r * mine.size(), mine.size());
  }

  std::shared_ptr<MpiSession> session_;
  Members members_;
  MPI_Comm comm_;
  std::vector<float> parts_;
  std::optional<SharedMemory> segment_;
  std::optional<SharedCollectives> shared_;
  MpiRequests requests_;
  MpiMail mail_;
  std::optional<MpiLocalMail> places_;
};

}  // namespace

std::unique_ptr<HostCommunicator> make_mpi_communicator(std::shared_ptr<MpiSession> session,
                                                        Members members,
                                                        std::chrono::duration<double> step_timeout,
                                                        LocalPath local_path) {
  return std::make_unique<MpiCommunicator>(std::move(session), std::move(members), step_timeout,
                                           local_path);
}

}  // namespace dinfer
