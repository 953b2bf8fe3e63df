#pragma once

#include <chrono>
#include <list>
#include <span>
#include <vector>

#include "bootstrap/mpi_requests.h"

namespace dinfer {

// Messages between pairs of ranks of `comm` by MPI. A copy of what is sent is kept until its
// receiver has it.
class MpiMail {
 public:
  // `tag`: above 0.
  MpiMail(MPI_Comm comm, PeerWait& wait, int tag) : comm_(comm), wait_(wait), tag_(tag) {}
  MpiMail(const MpiMail&) = delete;
  MpiMail& operator=(const MpiMail&) = delete;
  ~MpiMail();  // gives the last messages a while to leave

  // Waits only where kMostLetters messages and kMostBytes are on their way to `peer`, or for a
  // message that is longer than that.
  void send(int peer, std::span<const std::byte> data, Deadline deadline);
  // Another length than was sent is an Error(peer).
  void receive(int peer, std::span<std::byte> data, Deadline deadline);
  // For waits outside of MPI, again and again: gives messages of the whole process a chance to move
  // on, since MPI does nothing by itself.
  void progress();

 private:
  static constexpr int kMostLetters = 2;
  static constexpr size_t kMostBytes = size_t{256} << 20;

  struct Letter {
    Letter(int to, std::vector<std::byte> text, const MpiMail& mail)
        : peer(to), data(std::move(text)), request(mail.comm_, mail.wait_, mail.tag_) {}

    int peer;
    std::vector<std::byte> data;
    MpiRequests request;
  };

  void drop_delivered();
  bool has_room(int peer, size_t bytes);

  MPI_Comm comm_;
  PeerWait& wait_;
  int tag_;
  std::chrono::steady_clock::time_point last_look_{};
  std::list<Letter> letters_;                  // on their way, oldest first
  std::vector<std::vector<std::byte>> spare_;  // memory for the next ones
};

}  // namespace dinfer
