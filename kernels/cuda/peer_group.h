#pragma once

#include <cstddef>
#include <cstdint>

namespace dinfer::cuda {

inline constexpr int kMaxPeers = 8;

// Why a kernel stopped waiting for its peers.
enum class PeerFault : uint32_t {
  none,
  told_to,   // PeerReport::stop was set
  late,      // a peer's data did not come in time
  diverged,  // a peer called something else
};

// Host memory that kernels see: how the host stops them, and what they report, the first fault
// only.
struct PeerReport {
  uint32_t stop = 0;
  uint32_t fault = 0;             // PeerFault; written last
  uint32_t peer = 0;              // whose data was waited for
  uint32_t theirs = 0, ours = 0;  // diverged: lengths
};

// In each rank's own device memory, zero at first. Kernels count for themselves, so that a recorded
// graph can be replayed.
struct PeerCounters {
  uint32_t epoch;    // collectives done by this rank, modulo 2^32
  uint32_t started;  // blocks of the running collective that know its epoch
  uint32_t fault;    // PeerFault
};

// Messages between two GPUs go in pieces through lanes: places in the receiver's window that belong
// to one sender, two a lane and filled by turns. A block works for one lane.
inline constexpr int kMailLanes = 64;
inline constexpr size_t kMailPiece = size_t{64} << 10;  // bytes a place holds
inline constexpr size_t kMailShort = 2048;              // the same where they go with flags

// Pieces of each lane since the start, modulo 2^32; in each rank's own device memory, like
// PeerCounters, zero at first.
struct PeerMailCounters {
  uint32_t sent[kMaxPeers][kMailLanes];      // by receiver
  uint32_t received[kMaxPeers][kMailLanes];  // by sender
};

// What one rank's kernels know of the group: a kernel argument.
//
// Each rank owns a window of device memory that its peers write to. It has two halves, which
// collectives use by turns: a rank that takes part in collective n has finished n - 1, so half
// n % 2 holds nothing anymore that it would still read from n - 2. Half: one header of 16 bytes a
// rank, padded to kPeerHeaders; a slot of kFlaggedBytes a rank, for what that rank sends with
// flags; a slot of slot_bytes a rank, for what it sends bare, and one more for results of two-shot
// sums. Behind the halves there is a PeerMailbox a rank. Fresh windows hold kPeerNothing in every
// word, and so do bare slots between collectives.
struct PeerGroup {
  int rank = 0;
  int ranks = 1;
  size_t slot_bytes = 0;
  std::byte* windows[kMaxPeers] = {};  // by rank, as this GPU addresses them
  PeerCounters* counters = nullptr;
  PeerMailCounters* mail = nullptr;
  PeerReport* report = nullptr;
  uint64_t timeout_ns = 0;  // of one wait
};

inline constexpr size_t kPeerHeaders = 1024;
inline constexpr size_t kFlaggedBytes = size_t{512} << 10;

// A NaN that no arithmetic yields (CUDA's own is 7fffffff): the word that stands for "not yet
// written".
inline constexpr uint32_t kPeerNothing = 0xffa5c3e7;

inline constexpr size_t peer_half_bytes(int ranks, size_t slot_bytes) {
  const auto slots = static_cast<size_t>(ranks);
  return kPeerHeaders + slots * kFlaggedBytes + (slots + 1) * slot_bytes;
}

// In a rank's window, what one other rank writes to when the two exchange messages.
struct PeerMailbox {
  // Of the other rank's messages to the window's owner, by place: the piece that is there (high
  // half) and the bytes of its message (low half).
  uint64_t arrived[kMailLanes][2];
  // Of the owner's messages to the other rank: the last piece that it took.
  uint32_t taken[kMailLanes];
  alignas(256) std::byte flagged[kMailLanes][2][2 * kMailShort];
  alignas(256) std::byte bare[kMailLanes][2][kMailPiece];
};

inline constexpr size_t peer_window_bytes(int ranks, size_t slot_bytes) {
  return 2 * peer_half_bytes(ranks, slot_bytes) + static_cast<size_t>(ranks) * sizeof(PeerMailbox);
}

}  // namespace dinfer::cuda
