#include "comm/mpi_local_mail.h"

#include <algorithm>
#include <array>
#include <atomic>

#include <fmt/format.h>

#include "base/error.h"
#include "comm/communicator.h"

namespace dinfer {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kPage = 4096;
constexpr size_t kPlaces = 2;
constexpr size_t kPlaceBytes = size_t{16} << 20;
static_assert(kPlaceBytes >= Communicator::kUnawaitedBytes);

enum class Way : uint64_t { place, mpi };

size_t rounded_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Runs `work` on the pieces of a message, of which there is one at least.
template <class Byte, class Work>
void for_pieces(std::span<Byte> data, const Work& work) {
  do {
    const size_t bytes = std::min(data.size(), kPlaceBytes);
    work(data.first(bytes));
    data = data.subspan(bytes);
  } while (!data.empty());
}

}  // namespace

struct MpiLocalMail::Lane {
  struct Label {
    uint64_t bytes;
    Way way;
  };
  alignas(kLine) std::atomic<uint64_t> sent;  // pieces
  std::array<Label, kPlaces> labels;
  alignas(kLine) std::atomic<uint64_t> taken;  // pieces
};

size_t MpiLocalMail::labels_bytes(int ranks) {
  return static_cast<size_t>(ranks) * static_cast<size_t>(ranks) * sizeof(Lane);
}

size_t MpiLocalMail::segment_bytes(int ranks) {
  const auto lanes = static_cast<size_t>(ranks) * static_cast<size_t>(ranks);
  return rounded_up(labels_bytes(ranks), kPage) + kPage + lanes * kPlaces * kPlaceBytes;
}

MpiLocalMail::MpiLocalMail(SharedMemory& segment, size_t offset, const Members& members,
                           PeerWait& wait, MpiMail& otherwise)
    : segment_(segment),
      labels_(offset),
      places_(rounded_up(offset + labels_bytes(members.size()), kPage)),
      members_(members),
      wait_(wait),
      otherwise_(otherwise),
      reserved_(static_cast<size_t>(members.size()) * kPlaces) {
  check(offset % kLine == 0 && segment.bytes().size() >= offset + segment_bytes(members.size()),
        "the segment holds all places");
}

void MpiLocalMail::send(int to, std::span<const std::byte> data, Deadline deadline) {
  Lane& own = lane(members_.rank(), to);
  for_pieces(data, [&](std::span<const std::byte> piece) {
    const uint64_t number = own.sent.load(std::memory_order_relaxed);
    wait_for([&] { return number - own.taken.load(std::memory_order_acquire) < kPlaces; }, to,
             deadline, "send");
    const size_t index = number % kPlaces;
    const Way way = reserve(to, index, piece.size()) ? Way::place : Way::mpi;
    if (way == Way::mpi)
      otherwise_.send(members_[to], piece, deadline);
    else
      std::ranges::copy(piece, place(members_.rank(), to, index).begin());
    own.labels[index] = {piece.size(), way};
    own.sent.store(number + 1, std::memory_order_release);
  });
}

void MpiLocalMail::receive(int from, std::span<std::byte> data, Deadline deadline) {
  Lane& theirs = lane(from, members_.rank());
  for_pieces(data, [&](std::span<std::byte> piece) {
    const uint64_t number = theirs.taken.load(std::memory_order_relaxed);
    wait_for([&] { return theirs.sent.load(std::memory_order_acquire) > number; }, from, deadline,
             "receive");
    const size_t index = number % kPlaces;
    const Lane::Label label = theirs.labels[index];
    if (label.bytes != piece.size())
      wait_.fail_diverged(members_[from], fmt::format("a message of {} bytes", label.bytes),
                          fmt::format("receive of {} bytes", piece.size()));
    if (label.way == Way::mpi)
      otherwise_.receive(members_[from], piece, deadline);
    else
      std::ranges::copy(place(from, members_.rank(), index).first(piece.size()), piece.begin());
    theirs.taken.store(number + 1, std::memory_order_release);
  });
}

// Messages that went by MPI need it to be called to move on.
template <class Done>
void MpiLocalMail::wait_for(const Done& done, int peer, Deadline deadline, std::string_view what) {
  const auto done_or_progress = [&] {
    if (done()) return true;
    otherwise_.progress();
    return false;
  };
  wait_.until(
      done_or_progress, [&] { return std::vector<int>{members_[peer]}; }, deadline, what);
}

// Memory for so much of a place to `to`; false: the host has none.
bool MpiLocalMail::reserve(int to, size_t index, size_t bytes) {
  size_t& reserved = reserved_[static_cast<size_t>(to) * kPlaces + index];
  if (bytes <= reserved) return true;
  const std::span<std::byte> whole = place(members_.rank(), to, index);
  const auto offset = static_cast<size_t>(whole.data() - segment_.bytes().data());
  const size_t wanted = std::min(rounded_up(bytes, kPage), kPlaceBytes);
  if (!segment_.reserve(offset, wanted)) return false;
  reserved = wanted;
  return true;
}

MpiLocalMail::Lane& MpiLocalMail::lane(int from, int to) const {
  auto* lanes = reinterpret_cast<Lane*>(segment_.bytes().data() + labels_);
  return lanes[from * members_.size() + to];
}

std::span<std::byte> MpiLocalMail::place(int from, int to, size_t index) const {
  const auto lane = static_cast<size_t>(from * members_.size() + to);
  return segment_.bytes().subspan(places_ + (lane * kPlaces + index) * kPlaceBytes, kPlaceBytes);
}

}  // namespace dinfer
