#pragma once

#include "kernels/cuda/matmul_decode.h"

namespace dinfer::cuda {

// What multiply_decode() hands to its kernel.
struct DecodeTask {
  DecodeTask(const Rows& rows, const PackedMatrix& weight, const DecodePlan& plan,
             const DecodeWorkspace& workspace, const Products& out)
      : rows(rows),
        out(out),
        plan(plan),
        workspace(workspace),
        codes(weight.data),
        panel_bytes(weight.packing == Packing::grouped
                        ? static_cast<int64_t>(weight.panel_code_bytes())
                        : kPanel * weight.padded_columns() *
                              static_cast<int64_t>(weight.element_bytes())),
        weight_rows(static_cast<int>(weight.rows)),
        panels(static_cast<int>(weight.panels())),
        width(static_cast<int>(weight.padded_columns())) {
    if (weight.packing != Packing::grouped) return;
    scales = weight.scales();
    symmetric = weight.symmetric;
    half_scales = weight.half_scales;
    while (1 << group_shift < weight.group) ++group_shift;
    groups = width >> group_shift;
    scale_bytes = static_cast<int>(weight.scale_bytes());
  }

  // The part of the work that is panels [first, first + count).
  DecodeTask slice(int first, int count) const {
    DecodeTask part = *this;
    part.codes += first * panel_bytes;
    if (scales) part.scales += int64_t{first} * groups * scale_bytes;
    part.panels = count;
    part.weight_rows -= first * static_cast<int>(kPanel);
    part.out.data += first * kPanel;
    if (out.bias) part.out.bias += first * kPanel;
    return part;
  }

  Rows rows;
  Products out;
  DecodePlan plan;
  DecodeWorkspace workspace;

  // Of the weight, as small numbers that need no division.
  const std::byte* codes;
  const std::byte* scales = nullptr;
  int64_t panel_bytes;
  int weight_rows, panels, width;
  int group_shift = 0;  // log2 of the group
  int groups = 0;       // of a row
  int scale_bytes = 0;  // of a group of a panel
  bool symmetric = true, half_scales = false;
};

}  // namespace dinfer::cuda
