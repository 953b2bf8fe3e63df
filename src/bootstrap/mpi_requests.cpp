#include "bootstrap/mpi_requests.h"

#include <algorithm>

#include <fmt/format.h>

#include "bootstrap/mpi_session.h"

namespace dinfer {
namespace {

// MPI counts are int: longer data goes in pieces.
constexpr size_t kPiece = size_t{1} << 30;

}  // namespace

// Nothing is written to a rank that is known to be gone: Open MPI (4.1.4) connects to it anew, and
// where that is refused its event loop may never come back, until mpirun kills this process.
void MpiRequests::send(int peer, std::span<const std::byte> data) {
  wait_.check_report();
  size_t done = 0;
  do {
    const size_t bytes = std::min(kPiece, data.size() - done);
    requests_.push_back(MPI_REQUEST_NULL);
    messages_.push_back({peer, bytes, false, nullptr});
    check_mpi(MPI_Isend(data.data() + done, static_cast<int>(bytes), MPI_BYTE, peer, tag_, comm_,
                        &requests_.back()),
              "MPI_Isend");
    done += bytes;
  } while (done < data.size());
}

void MpiRequests::receive(int peer, std::span<std::byte> data) {
  size_t done = 0;
  do {
    const size_t bytes = std::min(kPiece, data.size() - done);
    post_receive(peer, data.subspan(done, bytes), nullptr);
    done += bytes;
  } while (done < data.size());
}

void MpiRequests::receive_up_to(int peer, std::span<std::byte> data, size_t* received) {
  check(data.size() <= kPiece, "receive_up_to takes one piece");
  post_receive(peer, data, received);
}

void MpiRequests::post_receive(int peer, std::span<std::byte> data, size_t* received) {
  requests_.push_back(MPI_REQUEST_NULL);
  messages_.push_back({peer, data.size(), true, received});
  check_mpi(MPI_Irecv(data.data(), static_cast<int>(data.size()), MPI_BYTE, peer, tag_, comm_,
                      &requests_.back()),
            "MPI_Irecv");
}

void MpiRequests::wait(Deadline deadline, std::string_view what) {
  try {
    size_t bytes = 0;
    for (const Message& message : messages_) bytes += message.bytes;
    wait_.until([&] { return test(what); }, [&] { return missing(); }, deadline, what, bytes);
    check_arrived(what);
  } catch (...) {
    cancel();
    throw;
  }
  requests_.clear();
  messages_.clear();
}

bool MpiRequests::test(std::string_view what) {
  statuses_.resize(requests_.size());
  int done = 0;
  const int result =
      MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, statuses_.data());
  if (result == MPI_ERR_IN_STATUS) {
    for (size_t i = 0; i < messages_.size(); ++i) {
      const int error = statuses_[i].MPI_ERROR;
      if (error == MPI_ERR_TRUNCATE)
        wait_.fail_diverged(messages_[i].peer, "a longer message", what);
      if (error != MPI_ERR_PENDING) check_mpi(error, "MPI_Testall");
    }
  }
  check_mpi(result, "MPI_Testall");
  return done != 0;
}

std::vector<int> MpiRequests::missing() const {
  std::vector<int> peers;
  for (size_t i = 0; i < requests_.size(); ++i) {
    int done = 0;
    MPI_Status status;
    MPI_Request_get_status(requests_[i], &done, &status);
    if (!done) peers.push_back(messages_[i].peer);
  }
  std::ranges::sort(peers);
  const auto repeated = std::ranges::unique(peers);
  peers.erase(repeated.begin(), repeated.end());
  return peers;
}

void MpiRequests::check_arrived(std::string_view what) const {
  for (size_t i = 0; i < messages_.size(); ++i) {
    const Message& message = messages_[i];
    if (!message.incoming) continue;
    int bytes = 0;
    MPI_Get_count(&statuses_[i], MPI_BYTE, &bytes);
    if (message.received)
      *message.received = static_cast<size_t>(bytes);
    else if (static_cast<size_t>(bytes) != message.bytes)
      wait_.fail_diverged(message.peer, fmt::format("a message of {} bytes", bytes),
                          fmt::format("{} of {} bytes", what, message.bytes));
  }
}

void MpiRequests::cancel() {
  for (MPI_Request& request : requests_) {
    if (request == MPI_REQUEST_NULL) continue;
    MPI_Cancel(&request);
    MPI_Request_free(&request);
  }
  requests_.clear();
  messages_.clear();
}

}  // namespace dinfer
