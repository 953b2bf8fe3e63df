#pragma once

namespace dinfer::cuda {

// What the kernels of this program that run on the current device were compiled for: a device newer
// than the program runs code for an older one.
struct CompiledCode {
  int capability;   // 90: for 9.0
  bool warpgroups;  // for sm_90a: warpgroups' products are there
};

CompiledCode compiled_code();

}  // namespace dinfer::cuda
