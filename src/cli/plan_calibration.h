#pragma once

#include <string>
#include <vector>

#include "cli/options.h"

namespace dinfer {

struct PlannedMachines;

// How far the speeds that `bench` measured on some layout are from the estimates for it.
class Calibration {
 public:
  Calibration() = default;

  // The output of `bench --json`. Its layout must be single or tensor-parallel, its model a --shape
  // or that of `options`, its device of a known kind; else Error(config) that names the file. The
  // measured read bandwidth replaces that of devices of its kind in `machines`: CPU ranks share
  // out, however many there are, what those of the report had of their host.
  Calibration(const std::string& file, const Options& options, PlannedMachines& machines);

  // What an estimate for steps of so many sequences is to be multiplied by.
  double factor(double sequences) const;

  // The same for prompts.
  double prompt_factor() const { return prompt_factor_; }

  // The error of estimates that are off by `otherwise` without a calibration, on such devices.
  double error(double otherwise, const std::string& kind) const;

 private:
  struct Point {
    double sequences;
    double factor;
  };
  std::string kind_;  // of device
  std::vector<Point> points_;
  double prompt_factor_ = 1;
};

}  // namespace dinfer
