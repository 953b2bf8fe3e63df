#include "cli/plan_speed.h"

#include <algorithm>
#include <cmath>

namespace dinfer {
namespace {

// What kernels cost beside reading weights and multiplying, and how far each format stays behind
// reading. Fitted to the figures of docs/BENCHMARKS.md for H200s and for CPU ranks, which
// tests/unit/cli/plan_speed_test.cpp holds them against.
struct Costs {
  double layer_us;     // a layer's kernels
  double coded_us;     // those of a layer of codes of few bits
  double rows_us;      // more, where there is more than one row
  double normed_us;    // more, where what the layer adds is normed
  double row_us;       // of each row, in norms, gates and copies; twice where that is so
  double sequence_us;  // of each sequence that decodes
  double step_us;      // a step's embedding, last norm and choice of token
};
constexpr Costs kGpu{.layer_us = 36,
                     .coded_us = 28,
                     .rows_us = 11,
                     .normed_us = 8,
                     .row_us = 0.05,
                     .sequence_us = 0.17,
                     .step_us = 30};
constexpr Costs kCpu{.layer_us = 15,
                     .coded_us = 15,
                     .rows_us = 0,
                     .normed_us = 0,
                     .row_us = 1,
                     .sequence_us = 2,
                     .step_us = 50};

// Attention of prompts and reading of keys and values, as shares of the device's rates.
constexpr double kHopperAttentionTflops = 0.85, kOtherAttentionTflops = 0.30;
constexpr double kCpuAttentionTflops = 0.7;
constexpr double kAttentionReads = 0.95;

// Of experts, in a step with so many rows, each of which may choose any.
double expert_bytes_read(const StageWork& work, double rows) {
  return work.expert_bytes * (1 - std::pow(1 - work.chosen_share, rows));
}

double bytes_read(const StageWork& work, double rows) {
  return work.read_bytes + expert_bytes_read(work, rows);
}

// Of a step's matrices: each layer meets all rows, the head those whose logits are wanted.
double products(const StageWork& work, double rows, double head_rows) {
  return 2 * ((work.elements + work.expert_elements) * rows + work.head_elements * head_rows);
}

// Formats by the bits of a weight with its scales.
enum class Format { plain, bits8, bits4 };

Format format_of(const StageWork& work) {
  const double bits = 8 * bytes_read(work, 1) / std::max(1.0, products(work, 1, 1) / 2);
  return bits > 12 ? Format::plain : bits > 7 ? Format::bits8 : Format::bits4;
}

// GPU: products of up to so many rows take codes as they are; beyond, matrices are unpacked to bf16
// first, at so many bytes a second as a share of reading.
constexpr double kHopperCodeRows = 1024, kOtherCodeRows = 32;
constexpr double kFewRows = 64;
constexpr double kUnpackShare = 0.6;
constexpr double kUnpackedBytes = 4;  // a weight: written and read

// The share of the read bandwidth that products with few rows reach.
double read_share(const StageWork& work, double rows) {
  const Format format = format_of(work);
  if (work.device.cpu) return format == Format::bits4 ? 0.71 : 0.83;
  if (format == Format::plain) return 1;
  const double doublings = std::log2(std::clamp(rows, 1.0, kFewRows));
  return format == Format::bits4 ? 1 / (1.38 + 0.19 * doublings) : 1 / (1.2 + 0.1 * doublings);
}

// Of products with matrices of this format.
double product_tflops(const StageWork& work) {
  return format_of(work) == Format::plain ? work.device.tflops : work.device.code_tflops;
}

// Matrices that all rows meet.
double dense_time(const StageWork& work, const StepShape& step) {
  const double head_rows = step.prompt ? step.sequences : step.rows;
  const double flops = 2 * (work.elements * step.rows + work.head_elements * head_rows);
  const double bandwidth = work.device.read_gb_s * 1e3;  // bytes a microsecond
  if (!work.device.cpu && format_of(work) != Format::plain &&
      step.rows > (work.device.hopper ? kHopperCodeRows : kOtherCodeRows)) {
    const double unpacking = kUnpackedBytes * work.elements / bandwidth / kUnpackShare;
    return work.read_bytes / bandwidth + unpacking + flops / work.device.tflops / 1e6;
  }
  return std::max(work.read_bytes / bandwidth / read_share(work, step.rows),
                  flops / product_tflops(work) / 1e6);
}

// GPU: experts' products reach so much of the rate of bf16. Reading hides them, but for those of
// codes, which become numbers meanwhile.
constexpr double kExpertTflops = 0.25, kCodedExpertTflops = 0.34;
constexpr double kCodedExpertReads = 0.55;

double expert_time(const StageWork& work, const StepShape& step) {
  const double reading = expert_bytes_read(work, step.rows) / (work.device.read_gb_s * 1e3);
  const double flops = 2 * work.expert_elements * step.rows;
  // The few rows that meet an expert do not hide that its weights come from memory.
  if (work.device.cpu) return reading + flops / product_tflops(work) / 1e6;
  const double multiplying = flops / work.device.tflops / 1e6;
  if (format_of(work) == Format::plain) return std::max(reading, multiplying / kExpertTflops);
  return reading / kCodedExpertReads + multiplying / kCodedExpertTflops;
}

double attention_time(const StageWork& work, const StepShape& step) {
  if (!step.prompt) {
    const double bytes = step.sequences * step.context * work.kv_bytes;
    return bytes / (work.device.read_gb_s * 1e3) / kAttentionReads;
  }
  // Each row meets half of the prompt on average, in two products.
  const double length = step.rows / step.sequences;
  const double with_keys =
      4 * step.rows * (step.context + length / 2) * work.attention_width * work.layers;
  const double share = work.device.cpu      ? kCpuAttentionTflops
                       : work.device.hopper ? kHopperAttentionTflops
                                            : kOtherAttentionTflops;
  return with_keys / (work.device.tflops * share) / 1e6;
}

// One sum of `bytes` over the group.
double sum_time(const StageWork& work, double bytes) {
  if (work.ranks == 1) return 0;
  const double ranks = work.ranks;
  const double share = 2 * (ranks - 1) / ranks;  // of the bytes that each rank sends
  const double mb = bytes / 1e6;
  if (work.nodes > 1) return 20 + 10 * std::log2(work.nodes) + 22 * share * mb;
  if (work.device.cpu) return 5 + 2 * ranks + 100 * share * mb;
  if (!work.device.linked) return 10 + 2 * ranks + 50 * share * mb;
  return 2.4 + 0.6 * (ranks - 2) + 3.4 * share * mb;
}

}  // namespace

double layer_time(const DeviceKindSpec& device) {
  return device.cpu ? kCpu.layer_us : kGpu.layer_us;
}

StageTime stage_time(const StageWork& work, const StepShape& step) {
  const Costs& costs = work.device.cpu ? kCpu : kGpu;
  StageTime time;
  time.reading = dense_time(work, step) + expert_time(work, step);
  time.attention = attention_time(work, step);
  const double row = costs.row_us * (work.post_norms ? 2 : 1) * step.rows * work.hidden / 4096;
  const double sequences = step.prompt ? 0 : costs.sequence_us * (step.sequences - 1);
  const double layer = (format_of(work) == Format::plain ? costs.layer_us : costs.coded_us) +
                       (work.post_norms ? costs.normed_us : 0);
  time.kernels =
      work.layers * (layer + (step.rows > 1 ? costs.rows_us : 0) + row + sequences / work.ranks);
  if (work.head_elements > 0) time.kernels += costs.step_us;
  time.sums = 2 * work.layers * sum_time(work, step.rows * work.hidden * sizeof(float));
  return time;
}

StageWork undisturbed(StageWork work) {
  DeviceKindSpec& device = work.device;
  if (device.alone_gb_s > 0)
    device.read_gb_s = std::min(device.alone_gb_s, device.read_gb_s * device.sharers /
                                                       std::min(work.ranks, device.sharers));
  return work;
}

double least_stage_time(const StageWork& work, const StepShape& step) {
  const double keys = step.prompt ? 0 : step.sequences * step.context * work.kv_bytes;
  const double reading = (bytes_read(work, step.rows) + keys) / (work.device.read_gb_s * 1e3);
  const double head_rows = step.prompt ? step.sequences : step.rows;
  const double tflops = std::max(work.device.tflops, work.device.code_tflops);
  return std::max(reading, products(work, step.rows, head_rows) / tflops / 1e6);
}

double handover_time(double bytes, bool peers, bool same_node) {
  if (!same_node) return 30 + bytes / 10e3;
  return peers ? 8 + bytes / 300e3 : 40 + bytes / 20e3;
}

}  // namespace dinfer
