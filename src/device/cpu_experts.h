#pragma once

#include <cstdint>
#include <vector>

#include "device/cpu_linear.h"
#include "device/cpu_weight.h"
#include "device/device.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/thread_pool.h"

namespace dinfer {

// Device::experts on a team of threads. Rows are put in the order of the experts that they chose,
// so that each expert's weights are read once for all of its rows, and those that no row chose are
// not. A row's result depends on nothing else in the batch.
class CpuExperts {
 public:
  CpuExperts(cpu::ThreadPool& pool, CpuLinear& linear) : pool_(pool), linear_(linear) {}

  void run(Tensor in, const float* norm, float epsilon, const CpuWeight& router,
           const CpuWeight& gate_up, const CpuWeight& down, const ExpertSpec& spec, Tensor out,
           Output output);

 private:
  struct Choice {
    int64_t expert = 0;
    float weight = 0;
    int64_t place = 0;  // of the row among all rows in the order of experts
  };

  void choose(const float* scores, int64_t rows, const ExpertSpec& spec);
  void put_in_order(int64_t rows, const ExpertSpec& spec);
  void mix(const float* products, Tensor out, Output output);

  cpu::ThreadPool& pool_;
  CpuLinear& linear_;
  cpu::Scratch scores_, gates_, products_;
  std::vector<Choice> choices_;   // [rows, chosen], the best first
  std::vector<int64_t> picked_;   // [rows * chosen], by place: which row
  std::vector<RowGroup> groups_;  // an expert each
  std::vector<int64_t> places_;   // by expert: the next free place
};

}  // namespace dinfer
