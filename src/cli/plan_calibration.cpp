#include "cli/plan_calibration.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "cli/bench_shapes.h"
#include "cli/plan_devices.h"
#include "cli/plan_layouts.h"

namespace dinfer {
namespace {

constexpr uint64_t kMostBytes = 1 << 20;
constexpr double kLeastError = 0.05;

// A bench report, as far as it is needed.
struct Report {
  std::string device, layout, model;
  int ranks = 1;
  int quant = 0, quant_group = 32;
  double ceiling_gb_s = 0;  // of all ranks
  struct Row {
    double batch, context, tok_s;
  };
  std::vector<Row> decode;
  struct Prompts {
    double count, tokens, tok_s;
  };
  std::vector<Prompts> prefill;
};

Report parse_report(const std::string& text, const std::string& file) {
  const Json json = parse_json(text, "--calibration " + file, ExitCode::config);
  try {
    Report report{.device = json.at("device"),
                  .layout = json.at("layout"),
                  .model = json.at("model"),
                  .ranks = json.at("ranks"),
                  .quant = json.at("quant"),
                  .quant_group = json.at("quant_group")};
    for (const Json& row : json.at("rows")) {
      report.ceiling_gb_s = row.at("ceiling_gb_s");
      const double tokens = row.at("tokens");
      if (row.at("test") == "prefill")
        report.prefill.push_back({row.at("batch"), tokens, row.at("tok_s_median")});
      if (row.at("test") == "decode")
        report.decode.push_back({row.at("batch"), row.at("context").get<double>() + tokens / 2,
                                 row.at("tok_s_median")});
    }
    const bool sane =
        report.ranks >= 1 && report.ranks <= kMostDevices && report.ceiling_gb_s > 0 &&
        !report.decode.empty() &&
        std::ranges::all_of(report.decode,
                            [](const Report::Row& row) {
                              return row.batch >= 1 && row.context >= 0 && row.tok_s > 0;
                            }) &&
        std::ranges::all_of(report.prefill, [](const Report::Prompts& row) {
          return row.count >= 1 && row.tokens >= 1 && row.tok_s > 0;
        });
    if (sane) return report;
  } catch (const Json::exception& error) {
    fail(ExitCode::config, "--calibration {}: not what dinfer bench --json prints: {}", file,
         error.what());
  }
  fail(ExitCode::config,
       "--calibration {}: it needs a decode row, and numbers above 0: dinfer bench --json > {}",
       file, file);
}

Options measured_options(const Report& report, const Options& options) {
  Options measured = options;
  measured.quant = report.quant;
  measured.quant_group = report.quant_group;
  measured.topology.clear();
  measured.device_layers.clear();
  measured.uneven_tp = true;  // as they were, if they had to be
  if (report.model == options.model || report.model == options.shape) return measured;
  const bool has_files = !is_published_shape(report.model);
  measured.model = has_files ? report.model : "";
  measured.shape = has_files ? "" : report.model;
  return measured;
}

PlannedModel measured_model(const Options& measured, const std::string& file) {
  try {
    return PlannedModel(measured);
  } catch (const Error& error) {
    fail(ExitCode::config, "--calibration {}: the model that it was measured with: {}", file,
         error.what());
  }
}

}  // namespace

Calibration::Calibration(const std::string& file, const Options& options,
                         PlannedMachines& machines) {
  std::string text;
  try {
    text = read_text_file(file, kMostBytes);
  } catch (const Error& error) {
    fail(ExitCode::config, "--calibration {}", error.what());
  }
  const Report report = parse_report(text, file);
  const auto is_measured = [&](const PlannedDevice& device) {
    return is_device_kind(device.kind, report.device);
  };
  const auto found = std::ranges::find_if(machines.devices, is_measured);
  if (found == machines.devices.end())
    fail(ExitCode::config, "--calibration {}: measured on {}, and none is among the devices: {}",
         file, report.device, machines.text);
  if (report.layout != "single" && report.layout != "tensor-parallel")
    fail(ExitCode::config,
         "--calibration {}: measured as {}: let bench run on one rank, or tensor-parallel", file,
         report.layout);
  const auto ranks = static_cast<double>(report.ranks);
  const auto sharers =
      static_cast<double>(std::ranges::count_if(machines.devices, [&](const PlannedDevice& device) {
        return device.kind.cpu && device.node == found->node;
      }));
  // What the report was measured on.
  PlannedDevice bench_device = *found;
  bench_device.kind.read_gb_s = report.ceiling_gb_s / ranks;
  bench_device.kind.alone_gb_s = 0;
  if (found->kind.cpu) {
    bench_device.kind.tflops *= sharers / ranks;
    bench_device.kind.code_tflops *= sharers / ranks;
  }
  for (PlannedDevice& device : machines.devices) {
    if (!is_measured(device)) continue;
    const double before = device.kind.read_gb_s;
    device.kind.read_gb_s = report.ceiling_gb_s / (found->kind.cpu ? sharers : ranks);
    device.kind.alone_gb_s *= device.kind.read_gb_s / before;
  }

  Options measured = measured_options(report, options);
  const PlannedModel model = measured_model(measured, file);
  PlannedMachines bench;
  bench.devices.assign(static_cast<size_t>(report.ranks), bench_device);
  measured.tp = report.ranks;
  measured.pp = measured.dp = 1;
  const LayoutChoice layout = chosen_layout(measured, model, bench);
  kind_ = found->kind.name;
  const auto estimate = [&](const StepShape& step) {
    return step.rows * 1e6 / step_us(model, bench, layout, step);
  };
  for (const Report::Row& row : report.decode) {
    const StepShape step{.rows = row.batch, .sequences = row.batch, .context = row.context};
    points_.push_back({row.batch, row.tok_s / estimate(step)});
  }
  if (report.prefill.empty()) return;
  prompt_factor_ = 0;
  for (const Report::Prompts& row : report.prefill) {
    const StepShape step{.rows = row.count * row.tokens, .sequences = row.count, .prompt = true};
    prompt_factor_ += row.tok_s / estimate(step) / static_cast<double>(report.prefill.size());
  }
}

double Calibration::factor(double sequences) const {
  const auto distance = [&](const Point& point) {
    return std::abs(std::log(point.sequences / sequences));
  };
  const auto nearest = std::ranges::min_element(points_, {}, distance);
  return nearest == points_.end() ? 1 : nearest->factor;
}

double Calibration::error(double otherwise, const std::string& kind) const {
  if (points_.empty() || kind != kind_) return otherwise;
  const auto [low, high] = std::ranges::minmax(points_, {}, &Point::factor);
  return std::max(kLeastError, high.factor / low.factor - 1);
}

}  // namespace dinfer
