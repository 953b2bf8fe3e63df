#pragma once

#include <cstddef>
#include <cstdint>

#include "base/activation.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/packed_matrix.h"

namespace dinfer::cuda {

constexpr int kMostExperts = 512;  // of a layer

// What Device::experts (device/device.h) is to do, with the matrices that it has; stacks are packed
// as stack_in_panels() (pack.h) has them. `in` and `norm` are 16-byte aligned, `hidden` is a
// multiple of 4.
struct ExpertMixture {
  const float* in = nullptr;  // [rows, hidden]
  int64_t rows = 0;
  int64_t hidden = 0;
  const float* norm = nullptr;
  float epsilon = 0.0f;
  PackedMatrix router;  // dense
  PackedMatrix gate_up, down;
  int64_t experts = 0;
  int64_t chosen = 0;
  bool normalized = true;
  Activation activation = Activation::silu;
  float* out = nullptr;  // [rows, out_columns]
  int64_t out_columns = 0;
  bool add = false;

  int64_t ffn() const { return down.columns; }
};

// Device memory that this takes beside what it is given: about the inputs, inner values and outputs
// of all the experts of all rows.
size_t experts_workspace_bytes(const ExpertMixture& mixture);

// Enqueues it. Allocates nothing and waits for nothing, and the device finds out by itself which
// experts have rows: may be captured in a graph. `workspace`: so many bytes, 256-byte aligned, used
// by nothing else meanwhile.
//
// Rows meet an expert rounded to the type of its weights; grouped weights and their rows are
// rounded to f16. Sums are f32, in an order that depends on `rows` alone, not on what else they
// hold.
void mix_experts(const Stream& stream, const ExpertMixture& mixture, std::byte* workspace);

}  // namespace dinfer::cuda
