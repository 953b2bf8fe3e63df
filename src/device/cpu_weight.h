#pragma once

#include <cstdint>
#include <memory>

#include "device/device.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/thread_pool.h"

namespace dinfer {

// A matrix packed in panels, or a stack of `count` of one shape and form, in memory that the
// threads which will read it have touched first.
class CpuWeight final : public Weight {
 public:
  CpuWeight(cpu::Piece memory, const cpu::PackedMatrix& first, int64_t count)
      : memory_(std::move(memory)), first_(first), count_(count) {}
  int64_t rows() const override { return count_ * first_.rows; }
  int64_t columns() const override { return first_.columns; }
  size_t bytes() const override { return count_ * first_.bytes(); }
  int64_t count() const { return count_; }
  cpu::PackedMatrix matrix(int64_t index = 0) const {
    cpu::PackedMatrix matrix = first_;
    matrix.data += index * first_.bytes();
    return matrix;
  }

 private:
  cpu::Piece memory_;
  cpu::PackedMatrix first_;
  int64_t count_;
};

// Packs the `count` matrices that lie below each other in `matrix` on all threads of the pool.
std::unique_ptr<CpuWeight> pack_weight(const HostMatrix& matrix, int64_t count,
                                       cpu::ThreadPool& pool, cpu::Arena& arena);

std::unique_ptr<CpuWeight> clone_weight(const CpuWeight& weight, cpu::ThreadPool& pool,
                                        cpu::Arena& arena);

}  // namespace dinfer
