#pragma once

#include <mpi.h>

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "bootstrap/peer_wait.h"

namespace dinfer {

// Messages under way to and from several peers, waited for together and with a bound. Messages of
// one pair of ranks match in the order of the calls. When a wait fails, what is still under way is
// cancelled, so that no buffer is written after its owner is gone.
class MpiRequests {
 public:
  // Messages match those of the same `tag`.
  MpiRequests(MPI_Comm comm, PeerWait& wait, int tag = 0) : comm_(comm), wait_(wait), tag_(tag) {}
  MpiRequests(const MpiRequests&) = delete;
  MpiRequests& operator=(const MpiRequests&) = delete;
  ~MpiRequests() { cancel(); }

  void send(int peer, std::span<const std::byte> data);
  // A message of exactly data.size() bytes: another size is an Error(peer), the ranks are out of
  // step.
  void receive(int peer, std::span<std::byte> data);
  // A message of at most data.size() bytes; *received is set by wait().
  void receive_up_to(int peer, std::span<std::byte> data, size_t* received);

  // Whether all is done, without waiting: once it was, and when nothing is under way.
  bool test(std::string_view what);

  // `what` names the operation in errors.
  void wait(Deadline deadline, std::string_view what);

 private:
  struct Message {
    int peer;
    size_t bytes;
    bool incoming;
    size_t* received;  // or nullptr: exactly `bytes`
  };

  void post_receive(int peer, std::span<std::byte> data, size_t* received);
  std::vector<int> missing() const;
  void check_arrived(std::string_view what) const;
  void cancel();

  MPI_Comm comm_;
  PeerWait& wait_;
  int tag_;
  std::vector<MPI_Request> requests_;
  std::vector<MPI_Status> statuses_;
  std::vector<Message> messages_;
};

}  // namespace dinfer
