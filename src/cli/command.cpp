#include "cli/command.h"

#include <algorithm>
#include <array>

#include "cli/bench.h"
#include "cli/completion.h"
#include "cli/help.h"
#include "cli/plan.h"
#include "cli/run.h"
#include "cli/score.h"
#include "cli/serve.h"
#include "cli/tokenize.h"
#include "cli/version.h"

namespace dinfer {

std::span<const Command> command_table() {
  static constexpr auto table = std::to_array<Command>({
      {.name = "run",
       .bit = kRun,
       .summary = "answer one prompt, or chat on a terminal",
       .details =
           "Without --prompt and --tokens it reads the prompt from standard input; on a terminal "
           "it is a chat (/help lists its commands). Sampling is that of the model's "
           "generation_config.json; a model that does not ask for sampling is decoded greedily, "
           "unless a sampling option is given: then the temperature is 1. Order: penalties, "
           "temperature, top-k, top-p, min-p.\n"
           "  dinfer run -m model.gguf -p 'Why is the sky blue?'\n"
           "  mpirun -np 3 dinfer run -m model.gguf --json --temperature 0 --tokens 1,2,3",
       .needs_model = true,
       .run = run_command},
      {.name = "serve",
       .bit = kServe,
       .summary = "OpenAI API and web page",
       .details =
           "Answers HTTP on the head: /v1/chat/completions, /v1/completions, /v1/models, "
           "/tokenize, /health, /metrics and more, and a page to chat on at / (docs/SERVER.md). "
           "Sampling options are the defaults of requests that do not say. It listens on loopback "
           "unless told otherwise. SIGTERM, SIGINT and SIGUSR1 let running requests end, then it "
           "ends.\n"
           "  dinfer serve -m model.gguf\n"
           "  mpirun -np 3 dinfer serve -m model.gguf --host 0.0.0.0 --api-key-file keys",
       .needs_model = true,
       .run = serve_command},
      {.name = "score",
       .bit = kScore,
       .summary = "log-probability of each token of texts",
       .details =
           "Reads a JSON object a line, {\"text\": \"...\"} or {\"tokens\": [ids]}, and prints one "
           "a line in the same order: tokens, logprobs (null for the first), with --top K the K "
           "likeliest at each place, sum, perplexity.\n"
           "  dinfer score -m model.gguf --top 3 < texts.jsonl",
       .needs_model = true,
       .run = score_command},
      {.name = "bench",
       .bit = kBench,
       .summary = "speed of the engine on this layout",
       .details =
           "Measures prefill and decode for each length, batch and context asked for, and the read "
           "bandwidth of the ranks' memory, the ceiling of decode. The model is --model, or random "
           "weights of a --shape.\n"
           "  dinfer bench --shape llama-3.2-1b --quant 8 --batch 1,8 --context 0,1024",
       .run = bench_command},
      {.name = "plan",
       .bit = kPlan,
       .summary = "what would go where, what fits, how fast",
       .details =
           "Lays the model out on --devices, or on those of this machine, without loading anything "
           "and without GPUs: bytes of each rank, room for the KV cache, and estimated speeds with "
           "their error, for this layout and for others (docs/PLACEMENT.md). The model is --model, "
           "or a --shape. It ends with 5 where the layout does not fit.\n"
           "  dinfer plan --shape llama-3.1-70b --devices 2xH200\n"
           "  dinfer plan -m model.gguf --devices 8xH100 --emit mpirun",
       .run = plan_command},
      {.name = "tokenize",
       .bit = kTokenize,
       .summary = "text to token ids, and back",
       .details =
           "Reads the text of --prompt, or standard input to its end (a newline at the end is part "
           "of the text), and prints {\"tokens\": [ids]}. With --decode it reads ids, separated by "
           "blanks or commas or as JSON, and prints {\"text\": ...}. Needs no weights: a "
           "vocabulary-only GGUF or a directory with just tokenizer files will do.\n"
           "  dinfer tokenize -m model.gguf -p 'Hello there'\n"
           "  dinfer tokenize -m model.gguf --decode -p '1 2 3'\n"
           "  dinfer tokenize -m model.gguf --chat request.json --text",
       .needs_model = true,
       .run = tokenize_command},
      {.name = "completion",
       .summary = "a completion script for a shell",
       .details = "  source <(dinfer completion bash)",
       .arguments = "bash|zsh|fish",
       .most_arguments = 1,
       .run = completion_command},
      {.name = "help",
       .summary = "what a command does, and its options",
       .details = "dinfer help man-page prints the manual page in roff.",
       .arguments = "[COMMAND]",
       .most_arguments = 1,
       .run = help_command},
      {.name = "--version",
       .bit = kVersion,
       .summary = "version, and what this binary contains",
       .run = version_command},
      {.name = "batch", .summary = "OpenAI batch files"},
      {.name = "verify", .summary = "compare layouts with one rank"},
      {.name = "doctor", .summary = "check machine, launcher, links, model"},
      {.name = "shard", .summary = "write the HDF5 store"},
      {.name = "fetch", .summary = "download a model"},
  });
  return table;
}

const Command* find_command(std::string_view name) {
  const auto table = command_table();
  const auto found = std::ranges::find(table, name, &Command::name);
  return found == table.end() ? nullptr : &*found;
}

std::string names_of(CommandSet commands) {
  std::vector<std::string_view> names;
  for (const Command& command : command_table()) {
    if ((command.bit & commands) != 0) names.push_back(command.name);
  }
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " and " : ", ";
    text += names[i];
  }
  return text;
}

}  // namespace dinfer
