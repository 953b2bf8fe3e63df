#include "checkpoint/expert_stacks.h"

#include <fmt/ranges.h>

#include "base/error.h"
#include "checkpoint/model_tensors.h"
#include "checkpoint/printable.h"

namespace dinfer {

namespace {

constexpr std::string_view kGateUp = ".mlp.experts.gate_up_proj";

TensorInfo find_stack(const FileCheckpoint& checkpoint, const std::string& name,
                      const std::vector<int64_t>& shape) {
  const TensorInfo* stack = checkpoint.find(name);
  if (!stack) {
    fail(ExitCode::model_files, "the model's files lack tensor {} of shape [{}]", printable(name),
         fmt::join(shape, ", "));
  }
  if (stack->shape != shape) {
    fail(ExitCode::model_files,
         "{}: tensor {} has shape [{}], but the model's config asks for [{}]: experts, outputs, "
         "inputs",
         checkpoint.file_of(*stack), printable(name), fmt::join(stack->shape, ", "),
         fmt::join(shape, ", "));
  }
  return *stack;
}

// The matrix `number` of a stack that is cut into matrices of this shape.
TensorInfo matrix_of(const TensorInfo& stack, int64_t number, const std::string& module,
                     int64_t rows, int64_t columns) {
  const uint64_t bytes = static_cast<uint64_t>(rows * columns) *
                         static_cast<uint64_t>(traits_of(stack.type).block_bytes);
  const uint64_t offset = stack.offset + static_cast<uint64_t>(number) * bytes;
  return {module + ".weight", stack.type, {rows, columns}, stack.file, offset, bytes};
}

}  // namespace

bool is_expert_stack(std::string_view name) { return name.ends_with(kGateUp); }

void split_expert_stacks(FileCheckpoint& checkpoint, const ModelConfig& config) {
  const int64_t ffn = config.experts.ffn, hidden = config.hidden, count = config.experts.count;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string mlp = fmt::format("model.layers.{}.mlp.", layer);
    const std::string gate_up_name = fmt::format("model.layers.{}{}", layer, kGateUp);
    if (!config.has_experts(layer) || !checkpoint.find(gate_up_name)) continue;
    const TensorInfo gate_up = find_stack(checkpoint, gate_up_name, {count, 2 * ffn, hidden});
    const TensorInfo down = find_stack(checkpoint, mlp + "experts.down_proj", {count, hidden, ffn});
    const std::vector<MlpModules> modules = mlp_modules(config, layer);
    for (int64_t expert = 0; expert < count; ++expert) {
      const auto& [gate, up, out] = modules[static_cast<size_t>(expert)];
      checkpoint.add(matrix_of(gate_up, 2 * expert, gate, ffn, hidden));
      checkpoint.add(matrix_of(gate_up, 2 * expert + 1, up, ffn, hidden));
      checkpoint.add(matrix_of(down, expert, out, hidden, ffn));
    }
    const std::string router = router_module(config, layer) + ".weight";
    const TensorInfo* scores = checkpoint.find(mlp + "gate.weight");
    if (!scores || scores->name == router) continue;
    TensorInfo renamed = *scores;  // Mixtral's, which is elsewhere in its original form
    renamed.name = router;
    checkpoint.add(std::move(renamed));
  }
}

}  // namespace dinfer
