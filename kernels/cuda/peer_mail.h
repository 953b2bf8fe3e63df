#pragma once

#include <cstddef>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/peer_group.h"

// Messages between two GPUs of a host as kernels over the receiver's window. Sends and receives of
// a pair match in the order of their calls and have the same length. Nothing waits for the host:
// calls may be recorded in CUDA graphs. What goes wrong is left in PeerReport.
namespace dinfer::cuda {

// Two messages of up to so many bytes may be on their way to a rank; what goes beyond waits for it.
inline constexpr size_t kMailRoom = kMailLanes * kMailPiece;

void peer_send(const Stream& stream, const PeerGroup& group, int receiver, const std::byte* data,
               size_t bytes);
void peer_receive(const Stream& stream, const PeerGroup& group, int sender, std::byte* data,
                  size_t bytes);

}  // namespace dinfer::cuda
