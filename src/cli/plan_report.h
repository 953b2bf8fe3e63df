#pragma once

#include <string>
#include <vector>

#include "cli/plan_layouts.h"

namespace dinfer {

struct PlannedLayout {
  LayoutChoice candidate;
  Evaluation evaluation;
};

struct PlanReport {
  std::string model;
  int64_t layers = 0;
  int64_t block_size = 16;  // tokens of a KV block
  PlannedMachines machines;
  PlannedLayout chosen;
  std::vector<PlannedLayout> others;  // ranked
};

std::string plan_table(const PlanReport& report);
std::string plan_json(const PlanReport& report);

}  // namespace dinfer
