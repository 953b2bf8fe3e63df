#pragma once

#include <cstdint>

#include "device/cpu_weight.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/matmul.h"

namespace dinfer {

// Products of activations with packed weights on a team of threads: prepares the rows (norm, gate,
// rounding to integers), then gives each thread a run of panels.
class CpuLinear {
 public:
  // `integers`: quantised weights take integer activations; else everything is f32.
  CpuLinear(cpu::ThreadPool& pool, bool integers);

  void run(const cpu::Rows& rows, const CpuWeight& weight, const cpu::Products& out);

 private:
  void run_quantized(const cpu::Rows& rows, const cpu::PackedMatrix& weight,
                     const cpu::Products& out);
  void run_f32(const cpu::Rows& rows, const cpu::PackedMatrix& weight, const cpu::Products& out);
  cpu::QuantizedRows place(const cpu::PackedMatrix& weight, int64_t rows, int64_t copies);

  cpu::ThreadPool& pool_;
  const bool integers_;
  cpu::Scratch codes_, scales_, sums_, offsets_, prepared_;
};

}  // namespace dinfer
