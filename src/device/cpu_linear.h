#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "device/cpu_weight.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/matmul.h"

namespace dinfer {

// Rows that meet one matrix of a stack.
struct RowGroup {
  int64_t matrix = 0;
  int64_t first = 0;  // of the rows
  int64_t count = 0;
  int64_t to = 0;  // row of the output where the products of the first one go
};

// Products of activations with packed weights on a team of threads: prepares the rows (norm, gate,
// rounding to integers), then gives each thread a run of panels. Threads that are done help those
// that are not: on shared and virtual machines cores differ from one moment to the next.
class CpuLinear {
 public:
  // `rounded`: quantised weights take integer activations, and f16 and bf16 ones activations of 16
  // bits with `tiles`, which is to use AMX; else everything is f32.
  CpuLinear(cpu::ThreadPool& pool, bool rounded, bool tiles);

  void run(const cpu::Rows& rows, const CpuWeight& weight, const cpu::Products& out);
  // The same in f32, whatever the weight.
  void run_f32(const cpu::Rows& rows, const CpuWeight& weight, const cpu::Products& out);
  // Each group with its matrix of the stack.
  void run(const cpu::Rows& rows, const CpuWeight& stack, std::span<const RowGroup> groups,
           const cpu::Products& out);

 private:
  void run_quantized(cpu::Rows rows, const CpuWeight& stack, std::span<const RowGroup> groups,
                     const cpu::Products& out);
  void run_split(cpu::Rows rows, const CpuWeight& stack, std::span<const RowGroup> groups,
                 const cpu::Products& out);
  void run_f32(const cpu::Rows& rows, const CpuWeight& stack, std::span<const RowGroup> groups,
               const cpu::Products& out);
  void begin_with_tiles(cpu::Rows& rows, std::span<const RowGroup>& groups, int tile);
  template <class Multiply>
  void deal(int rank, const cpu::PackedMatrix& form, std::span<const RowGroup> groups,
            int64_t piece, const Multiply& multiply);
  void reset_dealing();
  cpu::QuantizedRows place(const cpu::PackedMatrix& weight, int64_t rows, int tile, int64_t copies);

  // How many pieces of a thread's runs have been taken, by it or by its helpers.
  struct alignas(64) Taken {
    std::atomic<int64_t> pieces{0};
  };

  cpu::ThreadPool& pool_;
  const bool rounded_, tiles_;
  cpu::Scratch codes_, scales_, sums_, offsets_, parts_, prepared_;
  std::vector<Taken> taken_;    // by thread
  std::vector<int64_t> order_;  // of begin_with_tiles()
  std::vector<RowGroup> aligned_;
};

}  // namespace dinfer
