#include "comm/mpi_mail.h"

namespace dinfer {
namespace {

constexpr std::chrono::seconds kLastDelivery{2};
constexpr size_t kMostSpare = 2;
constexpr std::chrono::microseconds kBetweenLooks{20};
constexpr int kLooks = 16;
constexpr int kTagOfNone = 0;

}  // namespace

MpiMail::~MpiMail() {
  try {
    const auto all_gone = [&] {
      drop_delivered();
      return letters_.empty();
    };
    const auto receivers = [&] { return std::vector<int>{letters_.front().peer}; };
    wait_.until(all_gone, receivers, Deadline::after(kLastDelivery), "send");
  } catch (const Error&) {
    // The receiver is gone or does not want them: whoever waits for it says so. MPI may still read
    // what it was given.
    new std::list<Letter>(std::move(letters_));
  }
}

void MpiMail::send(int peer, std::span<const std::byte> data, Deadline deadline) {
  wait_.until([&] { return has_room(peer, data.size()); }, [&] { return std::vector<int>{peer}; },
              deadline, "send", kMostBytes);
  if (data.size() > kMostBytes) {
    MpiRequests request(comm_, wait_, tag_);
    request.send(peer, data);
    return request.wait(deadline, "send");
  }
  std::vector<std::byte> copy;
  if (!spare_.empty()) {
    copy = std::move(spare_.back());
    spare_.pop_back();
  }
  copy.assign(data.begin(), data.end());
  Letter& letter = letters_.emplace_back(peer, std::move(copy), *this);
  letter.request.send(peer, letter.data);
  drop_delivered();
}

void MpiMail::receive(int peer, std::span<std::byte> data, Deadline deadline) {
  MpiRequests request(comm_, wait_, tag_);
  request.receive(peer, data);
  request.wait(deadline, "receive");
}

void MpiMail::progress() {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_look_ < kBetweenLooks) return;
  last_look_ = now;
  // Each look moves a piece of each message, as long as it finds none.
  for (int look = 0; look < kLooks; ++look) {
    int found = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, kTagOfNone, comm_, &found, MPI_STATUS_IGNORE);
  }
}

void MpiMail::drop_delivered() {
  for (auto letter = letters_.begin(); letter != letters_.end();) {
    if (!letter->request.test("send")) {
      ++letter;
      continue;
    }
    if (spare_.size() < kMostSpare) spare_.push_back(std::move(letter->data));
    letter = letters_.erase(letter);
  }
}

bool MpiMail::has_room(int peer, size_t bytes) {
  drop_delivered();
  int letters = 0;
  for (const Letter& letter : letters_) {
    if (letter.peer != peer) continue;
    ++letters;
    bytes += letter.data.size();
  }
  return letters < kMostLetters || bytes <= kMostBytes;
}

}  // namespace dinfer
