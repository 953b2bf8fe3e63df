#include "comm/group_plane.h"

#include <algorithm>
#include <span>

namespace dinfer {

void GroupPlane::broadcast(Bytes& message, Deadline deadline) {
  message = all_gather(message, deadline).front();
}

// Lengths first; then all messages, as long as the longest.
std::vector<Bytes> GroupPlane::all_gather(const Bytes& message, Deadline deadline) {
  const auto ranks = static_cast<size_t>(size());
  host_.set_timeout(deadline.remaining());
  const uint64_t own = message.size();
  std::vector<uint64_t> lengths(ranks);
  host_.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(lengths)));
  const uint64_t longest = std::ranges::max(lengths);
  Bytes padded = message, all(longest * ranks);
  padded.resize(longest);
  host_.set_timeout(deadline.remaining());
  host_.all_gather(padded, all);
  std::vector<Bytes> messages;
  for (size_t rank = 0; rank < ranks; ++rank) {
    const auto begin = all.begin() + static_cast<ptrdiff_t>(rank * longest);
    messages.emplace_back(begin, begin + static_cast<ptrdiff_t>(lengths[rank]));
  }
  return messages;
}

void GroupPlane::fail_late(const std::vector<int>& missing, std::chrono::duration<double> waited,
                           std::string_view what) {
  std::vector<int> ranks;
  for (const int rank : missing) ranks.push_back(members_[rank]);
  job_.fail_late(ranks, waited, what);
}

void GroupPlane::fail_diverged(int other, std::string_view theirs, std::string_view ours) {
  job_.fail_diverged(members_[other], theirs, ours);
}

}  // namespace dinfer
