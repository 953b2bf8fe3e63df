#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/plan_calibration.h"
#include "cli/plan_layouts.h"
#include "cli/start_offload.h"
#include "tests/support/temporary_directory.h"

namespace dinfer {
namespace {

Options options_for(const std::string& shape, int quant = 0) {
  Options options;
  options.shape = shape;
  options.quant = quant;
  return options;
}

std::string refusal(ExitCode code, const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return "";
}

void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks: " << part;
}

TEST(PlanDevices, AListNamesKindsCountsAndNodes) {
  const PlannedMachines mixed = parse_devices("2xh100:40GiB,1xA100,cpu:64GiB");
  ASSERT_EQ(mixed.devices.size(), 4u);
  EXPECT_EQ(mixed.gpus(), 3);
  EXPECT_EQ(mixed.devices[1].kind.memory, uint64_t{40} << 30);
  EXPECT_EQ(mixed.devices[2].kind.name, "A100");
  EXPECT_TRUE(mixed.devices[3].kind.cpu);
  const PlannedMachines nodes = parse_devices("2x8xH200");
  ASSERT_EQ(nodes.devices.size(), 16u);
  EXPECT_EQ(nodes.nodes, 2);
  EXPECT_EQ(nodes.devices[7].node, 0);
  EXPECT_EQ(nodes.devices[8].node, 1);
  EXPECT_EQ(parse_devices("2xH100, 1xA100 ,cpu:8192GiB").devices.size(), 4u);
}

TEST(PlanDevices, WhatIsNoListIsRefused) {
  for (const std::string text : {"", "8xH200,", "0xH200", "-1xH200", "8x", "xH200", "H300",
                                 "8 x H200", "99999999xH200", "5000xH200", "1000x1000xH200"}) {
    SCOPED_TRACE(text);
    refusal(ExitCode::usage, [&] { parse_devices(text); });
  }
  expect_has(refusal(ExitCode::usage, [] { parse_devices("8xH300"); }), "did you mean H200?");
  expect_has(refusal(ExitCode::usage, [] { parse_devices("H100:40GB"); }), "as in H100:40GiB");
  expect_has(refusal(ExitCode::usage, [] { parse_devices("H100,2xcpu"); }), "one CPU");
  expect_has(refusal(ExitCode::usage, [] { parse_devices("2x5000xH100"); }),
             "10000 devices, at most 4096");
}

TEST(PlanLayouts, TheMostDevicesThatCanShareAreTaken) {
  const Options options = options_for("llama-3.1-8b");
  const PlannedModel model(options);
  const LayoutChoice three = chosen_layout(options, model, parse_devices("3xH200"));
  EXPECT_EQ(three.tp, 2);
  expect_has(three.note, "2 of 3 devices");
  EXPECT_EQ(chosen_layout(options, model, parse_devices("8xH200")).tp, 8);
}

TEST(PlanLayouts, UnevenHeadsLetAnyNumberOfDevicesShare) {
  Options options = options_for("smollm2-135m");
  const PlannedMachines machines = parse_devices("2xH200");
  EXPECT_EQ(chosen_layout(options, PlannedModel(options), machines).tp, 1);
  options.uneven_tp = true;
  const LayoutChoice two = chosen_layout(options, PlannedModel(options), machines);
  EXPECT_EQ(two.options, "--tp 2 --uneven-tp");
  EXPECT_EQ(two.shard_of(0).heads.size() + two.shard_of(1).heads.size(), 9);
  EXPECT_EQ(chosen_layout(options, PlannedModel(options), parse_devices("3xH200")).options,
            "--tp 3");
}

// A mapping is for one machine, whose devices it numbers.
TEST(PlanLayouts, AMappingDoesNotReachOtherNodes) {
  Options options = options_for("llama-3.1-8b");
  const PlannedModel model(options);
  const PlannedMachines machines = parse_devices("2x2xH200");
  options.device_layers = "0:16;1:16";
  EXPECT_EQ(nodes_of(chosen_layout(options, model, machines), machines), 1);
  options.device_layers = "0:16;2:16";
  expect_has(refusal(ExitCode::config, [&] { chosen_layout(options, model, machines); }),
             "cuda:2, which is not there: cuda:0 to cuda:1 are");
}

// More sequences than a step has tokens are never under way.
TEST(PlanLayouts, StepsBoundTheSequences) {
  Options options = options_for("llama-3.1-8b");
  const PlannedModel model(options);
  const PlannedMachines machines = parse_devices("H200");
  const auto planned = [&](int seqs, int tokens) {
    options.max_seqs = seqs;
    options.max_batch_tokens = tokens;
    options.max_seq_len = 1024;
    return evaluate(options, model, machines, chosen_layout(options, model, machines), {});
  };
  EXPECT_EQ(planned(64, 16).kv.blocks, planned(16, 16).kv.blocks);
  EXPECT_LT(planned(64, 16).kv.blocks, planned(64, 64).kv.blocks);
  EXPECT_EQ(planned(64, 16).saturated.sequences, 16);
}

// A step of one sequence reads the experts that it chooses, of many all of them; memory holds them
// all.
TEST(PlanLayouts, ExpertsAreReadWhereTheyAreChosen) {
  const Options options = options_for("qwen3-30b-a3b", 4);
  const PlannedModel model(options);
  const PlannedMachines machines = parse_devices("H200");
  const LayoutChoice one = chosen_layout(options, model, machines);
  const Evaluation evaluation = evaluate(options, model, machines, one, {});
  const WeightBytes bytes = model.weight_bytes(one.shard_of(0), model.quant());
  EXPECT_EQ(evaluation.memory[0].weights, bytes.all());
  EXPECT_NEAR(static_cast<double>(bytes.all()), 19.2e9, 1e9);
  const auto least_us = [&](double rows) {
    return step_us(model, machines, one, {.rows = rows, .sequences = rows});
  };
  EXPECT_LT(least_us(1) * 2, least_us(256));
  // 3.3 billion of 30.5 are active; a dense model of as many bytes takes several times as long.
  EXPECT_LT(evaluation.single.bound_tok_s, 1e9 * machines.devices[0].kind.read_gb_s /
                                               (bytes.read_by(1, model.config().experts) - 0.4e9));
  EXPECT_GT(evaluation.single.bound_tok_s,
            4 * 1e9 * machines.devices[0].kind.read_gb_s / static_cast<double>(bytes.all()));
}

TEST(PlanLayouts, ReplicasTakeTheDevicesThatAGroupLeaves) {
  Options options = options_for("llama-3.1-8b");
  const PlannedModel model(options);
  const PlannedMachines machines = parse_devices("4xH200");
  const auto planned = [&](const Options& asked) {
    const LayoutChoice chosen = chosen_layout(asked, model, machines);
    return std::pair(chosen, evaluate(asked, model, machines, chosen, {}));
  };
  const auto [alone, one] = planned([&] {
    Options tp = options;
    tp.tp = 1;
    return tp;
  }());
  options.dp = 4;
  const auto [copies, four] = planned(options);
  EXPECT_EQ(copies.tp, 1);
  EXPECT_EQ(copies.mode, "hybrid");
  EXPECT_EQ(copies.options, "--tp 1 --dp 4");
  EXPECT_EQ(copies.devices.size(), 4u);
  EXPECT_EQ(four.memory.size(), 4u);
  EXPECT_EQ(four.memory[3].weights, one.memory[0].weights);
  EXPECT_DOUBLE_EQ(four.single.tok_s, one.single.tok_s);
  EXPECT_EQ(four.saturated.sequences, 4 * one.saturated.sequences);
  EXPECT_NEAR(four.saturated.tok_s, 4 * one.saturated.tok_s, 1);
  options.dp = 2;
  EXPECT_EQ(planned(options).first.tp, 2);
  options.dp = 5;
  expect_has(refusal(ExitCode::config, [&] { planned(options); }), "--dp 5 take 5 ranks");
  const auto others = other_layouts({}, model, machines, alone);
  EXPECT_TRUE(std::ranges::any_of(
      others, [](const LayoutChoice& other) { return other.options == "--tp 2 --dp 2"; }));
}

// Options ask for all that the figures beside them are of.
TEST(PlanLayouts, ATopologyGoesWithTheLayoutsThatItAllows) {
  const test::TemporaryDirectory folder;
  Options options = options_for("llama-3.1-8b");
  const PlannedMachines machines = parse_devices("2xH200");
  const auto planned = [&](const std::string& text) {
    options.topology = folder.write("t.yaml", text);
    const PlannedModel model(options);
    std::vector<LayoutChoice> layouts{chosen_layout(options, model, machines)};
    for (LayoutChoice& other : other_layouts(options, model, machines, layouts.front()))
      layouts.push_back(std::move(other));
    return layouts;
  };
  for (const LayoutChoice& layout : planned("/mlp/: {isq: 8}\n")) {
    expect_has(layout.options, " --topology " + options.topology);
    EXPECT_FALSE(layout.quant.modules.empty());
  }
  const std::vector<LayoutChoice> placed = planned("0-9: {device: 'cuda[1]', isq: 8}\n");
  EXPECT_EQ(placed.front().options, "--topology " + options.topology);
  EXPECT_FALSE(placed.front().quant.modules.empty());
  ASSERT_GT(placed.size(), 1u);
  for (const LayoutChoice& other : std::span(placed).subspan(1)) {
    EXPECT_EQ(other.options.find("--topology"), std::string::npos) << other.options;
    EXPECT_TRUE(other.quant.modules.empty());
  }
}

TEST(PlanLayouts, AReplicaOnASlowerDeviceHoldsTheOthersBack) {
  Options options = options_for("llama-3.1-8b");
  options.dp = 2;
  const PlannedModel model(options);
  const auto saturated = [&](const std::string& devices) {
    const PlannedMachines machines = parse_devices(devices);
    const LayoutChoice chosen = chosen_layout(options, model, machines);
    return evaluate(options, model, machines, chosen, {}).saturated.tok_s;
  };
  EXPECT_LT(saturated("1xH200,1xA100"), 1.01 * saturated("2xA100"));
}

TEST(PlanLayouts, AMemoryLimitCountsAsLessMemory) {
  Options options = options_for("llama-3.1-8b");
  options.mode = "layers";
  const PlannedModel model(options);
  PlannedMachines machines = parse_devices("2xH200");
  limit_memory(machines, "0=6GiB");
  EXPECT_EQ(machines.devices[0].free, uint64_t{6} << 30);
  EXPECT_GT(machines.devices[1].free, uint64_t{100} << 30);
  const LayoutChoice split = chosen_layout(options, model, machines);
  EXPECT_LT(split.shard_of(0).units[0].size(), split.shard_of(1).units[0].size());
  EXPECT_EQ(evaluate(options, model, machines, split, {}).problem, "");
  expect_has(refusal(ExitCode::config, [&] { limit_memory(machines, "2=1GiB"); }),
             "its devices are cuda:0, cuda:1 (");
  expect_has(refusal(ExitCode::config, [&] { limit_memory(machines, "cpu=1GiB"); }), "limits cpu");
}

// As a start does: --mode layers, or GPUs of one machine without NCCL.
TEST(PlanLayouts, LayersAreSharedOutBySpeed) {
  Options options = options_for("llama-3.1-8b");
  const PlannedModel model(options);
  PlannedMachines machines = parse_devices("H200,A100");
  EXPECT_EQ(chosen_layout(options, model, machines).options, "--tp 2");
  machines.nccl = false;
  const LayoutChoice split = chosen_layout(options, model, machines);
  EXPECT_TRUE(split.options.starts_with("-n \"0:")) << split.options;
  EXPECT_GT(split.shard_of(0).units[0].size(), 2 * split.shard_of(1).units[0].size());
  machines.nccl = true;
  options.mode = "layers";
  EXPECT_EQ(chosen_layout(options, model, machines).options, split.options);
  options.tp = 1;
  EXPECT_EQ(chosen_layout(options, model, machines).options, "--tp 1 --pp 2");
}

TEST(PlanLayouts, TheCpuHelpsGpusThatAreTooSmallWithoutBeingAsked) {
  const auto options_of = [](const std::string& shape, const std::string& limit) {
    Options options = options_for(shape);
    options.memory_limit = limit;
    return options;
  };
  constexpr std::array<uint64_t, 2> gpus{uint64_t{80} << 30, uint64_t{80} << 30};
  const std::span<const uint64_t> two(gpus), one = two.first(1);
  EXPECT_TRUE(is_too_large(options_of("llama-3.1-70b", ""), one));
  EXPECT_FALSE(is_too_large(options_of("llama-3.1-70b", ""), two));
  EXPECT_FALSE(is_too_large(options_of("llama-3.1-8b", ""), one));
  EXPECT_TRUE(is_too_large(options_of("llama-3.1-8b", "0=10GiB"), one));
  EXPECT_FALSE(is_too_large(options_of("llama-3.1-8b", "0=10GiB"), two));
  EXPECT_FALSE(is_too_large(options_of("llama-3.1-8b", "1=10GiB"), one));
  Options crowded = options_of("llama-3.1-8b", "");
  crowded.kv_blocks = 1 << 20;
  EXPECT_FALSE(is_too_large(crowded, one)) << "no room for keys and values is no reason";

  const Options options = options_of("llama-3.1-8b", "0=10GiB");
  const PlannedModel model(options);
  PlannedMachines machines = parse_devices("1xH100,cpu:64GiB");
  limit_memory(machines, options.memory_limit);
  const LayoutChoice chosen = chosen_layout(options, model, machines);
  EXPECT_TRUE(chosen.options.starts_with("-n \"cpu:")) << chosen.options;
  EXPECT_EQ(evaluate(options, model, machines, chosen, {}).problem, "");
}

TEST(PlanLayouts, WhatDoesNotFitSaysSoAndTheCpuHelps) {
  Options options = options_for("llama-3.1-70b");
  options.tp = 1;
  const PlannedModel model(options);
  const PlannedMachines machines = parse_devices("1xH100,cpu:512GiB");
  const LayoutChoice chosen = chosen_layout(options, model, machines);
  expect_has(evaluate(options, model, machines, chosen, {}).problem, "rank 0 needs");
  bool offloaded = false;
  for (const LayoutChoice& other : other_layouts(options, model, machines, chosen)) {
    const bool by_cpu = other.options.find("cpu:") != std::string::npos;
    const Evaluation plan = evaluate(options, model, machines, other, {});
    if (by_cpu) {
      EXPECT_EQ(plan.problem, "") << other.options;
    }
    offloaded = offloaded || by_cpu;
  }
  EXPECT_TRUE(offloaded);
}

TEST(PlanLayouts, TheAutomaticSplitOfAnUnevenPairIsNearTheBestOfAll) {
  Options options = options_for("llama-3.1-8b");
  const PlannedModel model(options);
  const PlannedMachines machines = parse_devices("1xA100,1xH200:20GiB");
  const LayoutChoice chosen = chosen_layout(options, model, machines);
  const std::vector<LayoutChoice> others = other_layouts(options, model, machines, chosen);
  const auto automatic = std::ranges::find_if(others, [](const LayoutChoice& layout) {
    return layout.options.starts_with("-n") && layout.quant.otherwise.bits == 0;
  });
  ASSERT_NE(automatic, others.end());
  const double reached = evaluate(options, model, machines, *automatic, {}).saturated.tok_s;
  double best = 0;
  for (int64_t first = 1; first < model.config().layers; ++first) {
    options.device_layers = fmt::format("0:{};1:{}", first, model.config().layers - first);
    const Evaluation plan =
        evaluate(options, model, machines, chosen_layout(options, model, machines), {});
    best = std::max(best, plan.saturated.tok_s);
  }
  EXPECT_GT(reached, 0.95 * best);
}

class PlanCalibration : public testing::Test {
 protected:
  std::string file(const std::string& text) const {
    return folder_.write("calibration.json", text);
  }

  static std::string report(const std::string& device, double tok_s) {
    return fmt::format(
        R"({{"device":"{}","ranks":1,"layout":"single","model":"llama-3.1-8b","quant":0,)"
        R"("quant_group":32,"rows":[{{"test":"decode","batch":1,"context":128,"tokens":128,)"
        R"("tok_s_median":{},"ceiling_gb_s":4460}}]}})",
        device, tok_s);
  }

  static std::string measured_with(const std::string& model) {
    std::string text = report("NVIDIA H200", 229);
    const std::string shape = "llama-3.1-8b";
    return text.replace(text.find(shape), shape.size(), model);
  }

 private:
  const test::TemporaryDirectory folder_;
};

TEST_F(PlanCalibration, MeasuredSpeedsSetTheEstimatesRight) {
  const Options options = options_for("llama-3.1-8b");
  const PlannedModel model(options);
  PlannedMachines machines = parse_devices("1xH200");
  const LayoutChoice layout = chosen_layout(options, model, machines);
  const Calibration calibration(file(report("NVIDIA H200", 300)), options, machines);
  const Evaluation plan = evaluate(options, model, machines, layout, calibration);
  EXPECT_NEAR(plan.single.tok_s, 300, 1);
  EXPECT_LE(plan.error, 0.05);
}

TEST_F(PlanCalibration, CpuRanksOfAHostShareWhatWasMeasured) {
  const Options options = options_for("llama-3.1-8b");
  const auto read_gb_s = [&](const std::string& devices) {
    PlannedMachines machines = parse_devices(devices);
    Calibration(file(report("cpu", 3)), options, machines);
    return machines.devices[0].kind.read_gb_s;
  };
  EXPECT_DOUBLE_EQ(read_gb_s("cpu"), 4460);
  EXPECT_DOUBLE_EQ(read_gb_s("4xcpu"), 1115);
  EXPECT_DOUBLE_EQ(read_gb_s("2x2xcpu"), 2230);
}

TEST_F(PlanCalibration, PromptsAreSetRightByThemselves) {
  const Options options = options_for("llama-3.1-8b");
  PlannedMachines machines = parse_devices("1xH200");
  std::string with_prompts = report("NVIDIA H200", 229);
  with_prompts.insert(with_prompts.find("[{") + 1,
                      R"({"test":"prefill","batch":1,"context":0,"tokens":2048,)"
                      R"("tok_s_median":20000,"ceiling_gb_s":4460},)");
  const Calibration calibration(file(with_prompts), options, machines);
  EXPECT_NEAR(calibration.prompt_factor(), 20000 / 41000.0, 0.05);
  EXPECT_NEAR(calibration.factor(1), 1, 0.1);
}

TEST_F(PlanCalibration, WhatIsNoBenchReportIsRefused) {
  const Options options = options_for("llama-3.1-8b");
  PlannedMachines machines = parse_devices("1xH200");
  const auto refused = [&](const std::string& path) {
    return refusal(ExitCode::config, [&] { Calibration(path, options, machines); });
  };
  expect_has(refused("/nowhere.json"), "/nowhere.json");
  expect_has(refused(file("{")), "--calibration");
  expect_has(refused(file("{}")), "not what dinfer bench --json prints");
  expect_has(refused(file(report("NVIDIA H200", -1))), "numbers above 0");
  expect_has(refused(file(report("NVIDIA L4", 9))), "measured on NVIDIA L4");
  expect_has(refused(file(measured_with("models/gone"))),
             "the model that it was measured with: models/gone (revision main): not found");
}

// A machine may be measured with another model than is planned, of files or of a shape.
TEST_F(PlanCalibration, AnotherModelMeasuresTheMachineToo) {
  const Options options = options_for("llama-3.1-8b");
  const std::string files = std::string(DINFER_SOURCE_DIR) + "/tests/golden/models/hf/qwen3-moe";
  for (const std::string& model : {std::string("qwen3-0.6b"), files}) {
    SCOPED_TRACE(model);
    PlannedMachines machines = parse_devices("1xH200");
    const Calibration calibration(file(measured_with(model)), options, machines);
    EXPECT_GT(calibration.factor(1), 0);
    EXPECT_NE(calibration.factor(1), 1);
  }
}

}  // namespace
}  // namespace dinfer
