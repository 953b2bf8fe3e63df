#pragma once

namespace dinfer::cuda {

// Whether the current device, of compute capability 9.0, has the code in this program that uses
// warpgroups' products: it was compiled for sm_90a.
bool has_warpgroup_code();

}  // namespace dinfer::cuda
