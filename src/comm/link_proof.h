#pragma once

#include "bootstrap/control_plane.h"
#include "comm/communicator.h"
#include "device/device.h"

namespace dinfer {

// Collective, at start, of all ranks of a job: `all` are those of one copy of the model, whose
// stages have `stage_ranks` ranks each; copies follow each other. Where the job has GPUs, rank r of
// a stage and rank r of the next send each other a written pattern; one that does not come back as
// it was is an Error(device). The head logs each direction: "link: cuda:0 -> cuda:1 p2p 312 GB/s".
void prove_links(Communicator& all, Device& device, ControlPlane& control, int stage_ranks,
                 Deadline deadline);

}  // namespace dinfer
