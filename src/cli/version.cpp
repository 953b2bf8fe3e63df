#include "cli/version.h"

#include "base/build_info.h"
#include "base/json.h"
#include "cli/output.h"
#include "device/cpu_device.h"
#include "factory.h"

namespace dinfer {

namespace {

// One line of words for a part of the JSON report; null: the build lacks it.
std::string words(const OrderedJson& part) {
  if (part.is_null()) return "no";
  if (part.is_string()) return part.get<std::string>();
  if (part.is_array()) {
    std::string list;
    for (const OrderedJson& item : part) list += (list.empty() ? "" : ", ") + words(item);
    return list.empty() ? "none" : list;
  }
  std::string list;
  for (const auto& [key, value] : part.items()) {
    if (!value.is_null())
      list += fmt::format("{}{} {}", list.empty() ? "" : "; ", key, words(value));
  }
  return list;
}

}  // namespace

int version_command(const Options& options) {
  const BuildInfo info = build_info();
  OrderedJson report{{"name", "dinfer"},
                     {"version", info.version},
                     {"build", info.build_type},
                     {"compiler", info.compiler},
                     {"cpu_kernels", cpu_kernel_target()}};
  report.update(describe_build());
  if (options.json) {
    write_output(report.dump() + "\n");
    return 0;
  }
  write_output(fmt::format(
      "dinfer {}\nbuild:       {}, {}\nCPU kernels: {}\nMPI:         {}\nCUDA:        {}\n"
      "NCCL:        {}\n",
      info.version, info.build_type, info.compiler, words(report["cpu_kernels"]),
      words(report["mpi"]), words(report["cuda"]), words(report["nccl"])));
  return 0;
}

}  // namespace dinfer
