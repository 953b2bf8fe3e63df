#pragma once

namespace dinfer {

// What one of several ranks that share a host's CPU can do, as its kernels do it on this machine.
struct CpuRates {
  double share_gb_s = 0;   // read, while all ranks of the host do
  double alone_gb_s = 0;   // while the others rest
  double tflops = 0;       // products of bf16 matrices with many rows, while all ranks multiply
  double code_tflops = 0;  // those of matrices of 8 bits
};

// Measured here and now, for `ranks` ranks of `threads` threads each on so many cores.
CpuRates measure_cpu(int threads, int ranks, int cores);

}  // namespace dinfer
