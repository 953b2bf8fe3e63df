#include "checkpoint/model_files.h"

#include <algorithm>

#include "base/file.h"
#include "checkpoint/expert_stacks.h"
#include "checkpoint/gguf_checkpoint.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/huggingface_config.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/packed_parts.h"
#include "checkpoint/safetensors.h"

namespace dinfer {

namespace {

constexpr uint64_t kMostGenerationBytes = 1 << 20;

}  // namespace

std::unique_ptr<Checkpoint> open_checkpoint(const ModelFiles& files) {
  if (files.gguf) return open_gguf(files.path);
  std::unique_ptr<FileCheckpoint> checkpoint = open_safetensors(files.path);
  if (std::ranges::any_of(checkpoint->names(), is_expert_stack))
    split_expert_stacks(*checkpoint, read_huggingface_config(files.path));
  join_packed_matrices(*checkpoint, read_quantization_config(files.path));
  return checkpoint;
}

ModelConfig read_model_config(const ModelFiles& files) {
  return files.gguf ? read_gguf_config(files.path) : read_huggingface_config(files.path);
}

GenerationDefaults read_generation_defaults(const ModelFiles& files) {
  GenerationDefaults defaults;
  const auto path = files.path / "generation_config.json";
  if (files.gguf || !is_present(path)) return defaults;
  const Json text =
      parse_json(read_text_file(path, kMostGenerationBytes), path.string(), ExitCode::model_files);
  const JsonFields json(text, path.string());
  defaults.temperature = json.number("temperature", 0, 100);
  defaults.top_p = json.number("top_p", 0, 1);
  defaults.min_p = json.number("min_p", 0, 1);
  defaults.repetition_penalty = json.number("repetition_penalty", 1e-3, 1e3);
  if (const auto top_k = json.integer("top_k", -1, INT32_MAX))  // -1: as 0, all
    defaults.top_k = static_cast<int>(std::max<int64_t>(*top_k, 0));
  defaults.do_sample = json.boolean("do_sample").value_or(false);
  return defaults;
}

}  // namespace dinfer
