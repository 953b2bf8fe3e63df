#include "cli/plan_cpu.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "device/cpu_device.h"

namespace dinfer {
namespace {

// In turns, since a host whose memory is shared with others may double its speed within a minute:
// what counts is how one figure compares with the other.
constexpr int kTurns = 3;

// A product that takes some milliseconds on a few cores, several times, but not for long on a
// machine that is slow.
constexpr int64_t kOutputs = 2048, kInputs = 2048, kRows = 256;
constexpr int kProducts = 5;
constexpr std::chrono::milliseconds kProductsTime{300};

HostMatrix plain_matrix() {
  DenseMatrix matrix{.type = DType::bf16, .rows = kOutputs, .columns = kInputs, .data = {}};
  matrix.data.assign(kOutputs * kInputs * sizeof(uint16_t), std::byte{0});
  return matrix;
}

HostMatrix coded_matrix() {
  GroupedMatrix matrix{.bits = 8, .group = 32, .rows = kOutputs, .columns = kInputs};
  matrix.codes.assign(kOutputs * kInputs, 1);
  matrix.scales.assign(kOutputs * matrix.groups(), 1.0f);
  return matrix;
}

double measure_products(Device& device, HostMatrix matrix) {
  using Clock = std::chrono::steady_clock;
  const auto weight = device.upload(std::move(matrix));
  std::vector<float> in(kRows * kInputs, 1.0f), out(kRows * kOutputs);
  const auto begin = Clock::now();
  double best = 0;
  for (int i = 0; i < kProducts && Clock::now() - begin < kProductsTime; ++i) {
    const auto start = Clock::now();
    device.linear({in.data(), kRows, kInputs}, *weight, nullptr, {out.data(), kRows, kOutputs});
    const std::chrono::duration<double> seconds = Clock::now() - start;
    best = std::max(best, 2.0 * kRows * kInputs * kOutputs / seconds.count() / 1e12);
  }
  return best;
}

}  // namespace

CpuRates measure_cpu(int threads, int ranks, int cores) {
  const auto all = make_cpu_device({.threads = std::min(threads * ranks, cores)});
  const auto one = make_cpu_device({.threads = threads});
  CpuRates rates;
  for (int turn = 0; turn < (ranks > 1 ? kTurns : 1); ++turn) {
    rates.share_gb_s = std::max(rates.share_gb_s, all->measure_read_bandwidth() / ranks);
    if (ranks > 1) rates.alone_gb_s = std::max(rates.alone_gb_s, one->measure_read_bandwidth());
  }
  if (ranks == 1) rates.alone_gb_s = rates.share_gb_s;
  rates.tflops = measure_products(*all, plain_matrix()) / ranks;
  rates.code_tflops = measure_products(*all, coded_matrix()) / ranks;
  return rates;
}

}  // namespace dinfer
