#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bootstrap/control_plane.h"
#include "checkpoint/model_config.h"
#include "checkpoint/model_files.h"
#include "cli/options.h"
#include "cli/start_memory.h"
#include "cli/start_signals.h"
#include "engine/engine.h"
#include "model/weights.h"
#include "text/tokenizer.h"

namespace dinfer {

// What a command that works on ranks wants of the start.
struct StartRequest {
  std::string command;               // its name: all ranks must run the same
  int max_seqs = 1;                  // sequences in work at once, of each replica
  bool scores = false;               // logits of many rows a step
  bool deterministic = false;        // bits do not depend on what else is in a step
  bool prefix_cache = false;         // sequences that begin alike share KV blocks
  bool answers = false;              // of prompts: chat templates, sampling as the model asks
  bool reads_texts = true;           // works with text: the model's tokenizer is needed
  std::optional<ModelConfig> shape;  // random weights of this shape, no files
  std::function<void()> prepare;     // on the head, before any weight is read
  bool measures_reads = false;       // all ranks measure their read bandwidth before the loop
};

// What the client of the engine finds on the head.
struct Head {
  Engine& engine;
  SignalWatch& signals;
  const ModelConfig& config;
  const Tokenizer* tokenizer;             // nullptr where none was asked for, and with a shape that
                                          // no --tokenizer goes with
  const std::string& chat_template;       // source; empty: none
  const GenerationDefaults& generation;   // of the model
  const std::vector<std::string>& hosts;  // by rank, as what follows
  const std::vector<RankMemory>& memory;
  std::vector<std::string> units = {};  // of the model, as in the log
  std::string layout;                   // "single", "tensor-parallel"
  std::string device;                   // of rank 0
  int ranks = 1;
  double load_s = 0;  // from the start of the command to the end of the warm-up
  // Of a replica's ranks together: what decoding steps read of weights, and KV of a token.
  WeightBytes weight_bytes;
  uint64_t kv_bytes_per_token = 0;
  std::vector<WeightBytes> read_bytes;  // what decoding steps read, by rank
  std::vector<double> measured;         // read bandwidth in GB/s by rank, where it was asked for
};

using Client = std::function<int(Head&)>;

// Brings up all ranks (docs/ARCHITECTURE.md, "Start"), then runs `client` on the head while the
// other ranks follow the engine. The same on every rank, and so is the exit code it returns. An
// error ends all ranks: one rank alone throws it; of several, those that have it print it and all
// end with its code.
int run_on_ranks(const Options& options, const StartRequest& request, const Client& client);

}  // namespace dinfer
