#pragma once

#include <cstdint>
#include <memory>

#include "device/device.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/thread_pool.h"

namespace dinfer {

// A matrix packed in panels, in memory that the threads which will read it have touched first.
class CpuWeight final : public Weight {
 public:
  CpuWeight(cpu::Piece memory, const cpu::PackedMatrix& matrix)
      : memory_(std::move(memory)), matrix_(matrix) {}
  int64_t rows() const override { return matrix_.rows; }
  int64_t columns() const override { return matrix_.columns; }
  size_t bytes() const override { return matrix_.bytes(); }
  const cpu::PackedMatrix& matrix() const { return matrix_; }

 private:
  cpu::Piece memory_;
  cpu::PackedMatrix matrix_;
};

// Packs `matrix` on all threads of the pool.
std::unique_ptr<CpuWeight> pack_weight(const HostMatrix& matrix, cpu::ThreadPool& pool,
                                       cpu::Arena& arena);

std::unique_ptr<CpuWeight> clone_weight(const CpuWeight& weight, cpu::ThreadPool& pool,
                                        cpu::Arena& arena);

}  // namespace dinfer
