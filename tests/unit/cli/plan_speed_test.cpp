#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cli/plan_calibration.h"
#include "cli/plan_layouts.h"

namespace dinfer {
namespace {

// How far an estimate may be from what was measured.
constexpr double kError = 0.15;

Options options_for(const std::string& shape, int quant = 0) {
  Options options;
  options.shape = shape;
  options.quant = quant;
  return options;
}

// docs/BENCHMARKS.md, "One and two H200, Llama-3.1-8B shape", "Mixtures of experts" and "Gemma 3":
// milliseconds a step.
struct Figure {
  std::string shape;
  int quant, gpus;
  StepShape step;
  double ms;
};

StepShape decoding(double sequences) {
  return {.rows = sequences, .sequences = sequences, .context = 160};
}
StepShape prompts_of(double tokens, double count = 1) {
  return {.rows = count * tokens, .sequences = count, .prompt = true};
}

const std::string k8B = "llama-3.1-8b", k32B = "qwen3-32b", kExperts = "qwen3-30b-a3b";

TEST(PlanSpeed, MeasuredStepsAreMetWithin15Percent) {
  const std::vector<Figure> figures{
      {k8B, 0, 1, decoding(1), 1e3 / 229},
      {k8B, 0, 1, decoding(2), 4.60},
      {k8B, 0, 1, decoding(4), 4.66},
      {k8B, 0, 1, decoding(8), 4.72},
      {k8B, 0, 1, decoding(16), 4.85},
      {k8B, 0, 1, decoding(64), 5.62},
      {k8B, 0, 1, decoding(256), 10.15},
      {k8B, 0, 1, decoding(512), 512e3 / 27516},
      {k8B, 0, 1, prompts_of(2048), 49.5},
      {k8B, 0, 1, prompts_of(8192), 229},
      {k8B, 0, 1, prompts_of(2048, 16), 820},
      {k8B, 4, 1, decoding(1), 1e3 / 424},
      {k8B, 4, 1, decoding(8), 3.3},
      {k8B, 4, 1, decoding(64), 5.1},
      {k8B, 4, 1, decoding(128), 7.2},
      {k8B, 4, 1, decoding(256), 12.7},
      {k8B, 4, 1, prompts_of(512), 512e3 / 28400},
      {k8B, 4, 1, prompts_of(2048), 2048e3 / 34700},
      {k32B, 4, 1, decoding(1), 1e3 / 115},
      {k32B, 4, 1, decoding(8), 10.7},

      {k8B, 0, 2, decoding(1), 1e3 / 323},
      {k8B, 0, 2, decoding(8), 3.2},
      {k8B, 0, 2, decoding(64), 3.7},
      {k8B, 0, 2, decoding(256), 6.7},
      {k8B, 0, 2, prompts_of(2048), 32.6},
      {k8B, 0, 2, prompts_of(8192), 144},
      {k8B, 4, 2, decoding(1), 1e3 / 524},
      {k8B, 4, 2, decoding(64), 3.8},
      {k32B, 4, 2, decoding(1), 1e3 / 166},
      {k32B, 4, 2, decoding(8), 7.6},

      {kExperts, 0, 1, decoding(1), 1e3 / 324},
      {kExperts, 0, 1, decoding(8), 8e3 / 1054},
      {kExperts, 0, 1, decoding(64), 64e3 / 3864},
      {kExperts, 0, 1, decoding(256), 256e3 / 11864},
      {kExperts, 0, 1, prompts_of(512), 512e3 / 26500},
      {kExperts, 0, 1, prompts_of(2048), 2048e3 / 34300},
      {kExperts, 0, 1, prompts_of(8192), 8192e3 / 32400},
      {kExperts, 4, 1, decoding(1), 1e3 / 452},
      {kExperts, 4, 1, decoding(8), 8e3 / 1598},
      {kExperts, 4, 1, decoding(64), 64e3 / 5938},
      {kExperts, 4, 1, decoding(256), 256e3 / 14653},
      {kExperts, 4, 1, prompts_of(512), 512e3 / 26300},
      {kExperts, 4, 1, prompts_of(2048), 2048e3 / 35600},
      {kExperts, 4, 1, prompts_of(8192), 8192e3 / 33900},

      {"gemma-3-4b", 0, 1, decoding(1), 1e3 / 319.7},
      {"gemma-3-4b", 0, 1, decoding(64), 64e3 / 14637},
      {"gemma-3-4b", 0, 1, prompts_of(2048), 2048e3 / 67089},
      {"gemma-3-12b", 0, 1, decoding(1), 1e3 / 124.3},
      {"gemma-3-12b", 0, 1, decoding(64), 64e3 / 6249},
      {"gemma-3-12b", 0, 1, prompts_of(2048), 2048e3 / 22935},
  };
  for (const Figure& figure : figures) {
    SCOPED_TRACE(testing::Message() << figure.shape << " quant " << figure.quant << " gpus "
                                    << figure.gpus << " rows " << figure.step.rows);
    Options options = options_for(figure.shape, figure.quant);
    options.tp = figure.gpus;
    const PlannedModel model(options);
    const PlannedMachines machines = parse_devices("2xH200");
    const LayoutChoice layout = chosen_layout(options, model, machines);
    const double ms = step_us(model, machines, layout, figure.step) / 1e3;
    EXPECT_NEAR(ms / figure.ms, 1, kError) << ms << " ms, measured " << figure.ms;
  }
}

Evaluation evaluated(const Options& options) {
  const PlannedModel model(options);
  const PlannedMachines machines = parse_devices("2xH200");
  return evaluate(options, model, machines, chosen_layout(options, model, machines), {});
}

// The same page, "Layers mapped to two H200": requests of 128 tokens in and 256 out, and one
// sequence.
TEST(PlanSpeed, MeasuredLayoutsAreMetWithin15Percent) {
  const auto layout = [](int tp, int dp, const std::string& layers, int sequences) {
    Options options = options_for(k8B);
    options.tp = tp;
    options.dp = dp;
    options.device_layers = layers;
    options.max_seqs = sequences;
    return options;
  };
  const auto expect_requests = [](const Options& options, double tok_s) {
    EXPECT_NEAR(evaluated(options).saturated.tok_s / tok_s, 1, kError) << tok_s;
  };
  expect_requests(layout(1, 1, "", 256), 18452);
  expect_requests(layout(1, 1, "", 512), 19694);
  expect_requests(layout(0, 1, "0:16;1:16", 1024), 36736);
  expect_requests(layout(1, 2, "", 256), 36532);
  EXPECT_NEAR(evaluated(layout(0, 1, "0:16;1:16", 8)).single.tok_s / 223.2, 1, kError);
  EXPECT_NEAR(evaluated(layout(1, 2, "", 8)).single.tok_s / 228, 1, kError);
}

TEST(PlanSpeed, RanksOfAHostShareItsMemoryWhileTheyWork) {
  StageWork work{.device = {.read_gb_s = 10, .alone_gb_s = 15, .sharers = 4}};
  EXPECT_EQ(undisturbed(work).device.read_gb_s, 15);
  work.ranks = 4;
  EXPECT_EQ(undisturbed(work).device.read_gb_s, 10);
  work.device.alone_gb_s = 0;
  EXPECT_EQ(undisturbed(work).device.read_gb_s, 10);
}

// Prompts whose rows are few for each expert take the time to read all experts and to multiply by
// the chosen ones; smaller steps read them more often.
TEST(PlanSpeed, ExpertsOfCpusAreReadAndMultiplied) {
  const StageWork work{.device = {.read_gb_s = 16, .tflops = 0.4, .code_tflops = 0.4, .cpu = true},
                       .layers = 1,
                       .expert_bytes = 1.2e9,
                       .expert_elements = 0.6e9 / 16,
                       .chosen_share = 1.0 / 16};
  const StepShape prompt{.rows = 512, .sequences = 4, .prompt = true};
  EXPECT_NEAR(stage_time(work, prompt).reading, 75e3 + 96e3, 1e3);

  Options options = options_for("qwen3-30b-a3b", 4);
  const PlannedModel model(options);
  const PlannedMachines machines = parse_devices("cpu");
  const auto saturated = [&](int rows) {
    options.max_batch_tokens = rows;
    options.max_seqs = 8;
    return evaluate(options, model, machines, chosen_layout(options, model, machines), {})
        .saturated.tok_s;
  };
  EXPECT_LT(saturated(32), 0.9 * saturated(2048));
}

TEST(PlanSpeed, NoEstimateIsAboveItsBound) {
  for (const std::string shape : {"smollm2-135m", "llama-3.1-8b", "qwen3-32b"}) {
    for (const int quant : {0, 4, 8}) {
      for (const std::string devices : {"1xH200", "2xH100", "4xA100", "2x2xH200"}) {
        Options options = options_for(shape, quant);
        options.uneven_tp = shape[0] == 's';
        const PlannedModel model(options);
        const PlannedMachines machines = parse_devices(devices);
        const LayoutChoice chosen = chosen_layout(options, model, machines);
        std::vector<LayoutChoice> all = other_layouts(options, model, machines, chosen);
        all.push_back(chosen);
        for (const LayoutChoice& layout : all) {
          SCOPED_TRACE(shape + " " + devices + " " + layout.options);
          const Evaluation plan = evaluate(options, model, machines, layout, {});
          if (!plan.problem.empty()) continue;
          EXPECT_GT(plan.single.tok_s, 0);
          EXPECT_LE(plan.single.tok_s, plan.single.bound_tok_s);
          EXPECT_LE(plan.saturated.tok_s, plan.saturated.bound_tok_s);
        }
      }
    }
  }
}

}  // namespace
}  // namespace dinfer
