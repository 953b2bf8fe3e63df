#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"

namespace dinfer {

// Everything a user can ask for, from the command line (first) or DINFER_* variables. A member that
// is empty was not given: the default is decided where it is used, and stated in the help.
// Only options that work are offered.
struct Options {
  // model
  std::string model;
  std::string revision = "main";
  std::string tokenizer;          // file
  std::string chat_template;      // file
  std::string cpu_math = "auto";  // auto, f32
  int quant = 0;                  // 0, 4, 8
  int quant_group = 32;           // 32, 64, 128
  int64_t max_seq_len = 0;        // 0: the model's, or what fits

  // layout
  bool cpu = false;
  int threads = 0;            // a CPU rank; 0: its share of the host's cores
  std::string mode = "auto";  // auto, tensor, layers
  int tp = 0;                 // ranks of a group; 0: all of a stage
  int pp = 0;                 // groups of ranks with layers of their own; 0: one
  int dp = 0;                 // copies of the model; 0: one
  std::string device_layers;  // -n
  std::string topology;       // file
  bool uneven_tp = false;
  bool no_p2p = false;
  bool dry_run = false;

  // memory
  std::string memory_limit;  // "0=20GiB,cpu=64GiB": placement/memory_limits.h
  double kv_memory_fraction = 0.9;
  int kv_block_size = 16;  // 16, 32
  bool no_prefix_cache = false;
  std::string kv_dtype = "auto";  // auto, f8
  int64_t kv_blocks = 0;          // 0: from kv_memory_fraction
  int max_seqs = 64;
  int max_batch_tokens = 0;  // 0: 512 on CPUs, 4096 on GPUs

  // sampling
  std::optional<double> temperature, top_p, min_p, repetition_penalty, presence_penalty,
      frequency_penalty;
  std::optional<int> top_k;
  std::optional<uint64_t> seed;
  std::optional<int64_t> max_tokens;
  std::vector<std::string> stop;
  bool ignore_eos = false;

  // control
  std::string bootstrap = "auto";  // auto, mpi, multinode, ring, local
  std::string secret_file;
  bool insecure_no_auth = false;
  std::string control_interface;  // name or address
  bool ring_any_size = false;
  double start_timeout = 60;  // seconds
  double step_timeout = 30;
  double stall_timeout = 5;

  LogOptions log;
  bool json = false;

  // run
  std::optional<std::string> prompt;
  std::string system;
  bool raw = false;
  std::vector<int32_t> tokens;  // run --tokens 1,2,3

  // serve
  std::string host = "127.0.0.1";
  int port = 1234;
  std::string api_key_file;
  std::string tls_cert, tls_key;
  bool allow_keyless = false;
  std::vector<std::string> allowed_hosts;
  std::string served_model_name;
  std::string endpoint_file;
  bool no_ui = false;
  bool strict_api = false;
  int max_queue = 512;  // sequences that wait
  int max_connections = 4096;
  int max_connections_per_address = 256;
  int64_t max_body_bytes = int64_t{8} << 20;
  double header_timeout = 10;  // seconds
  double idle_timeout = 75;
  double write_timeout = 20;
  double request_timeout = 600;
  double drain_timeout = 30;

  // score
  int top = 0;
  std::string logits;  // HDF5 file

  // tokenize
  bool decode = false, jsonl = false, no_add_special = false, parse_special = false, text = false;
  std::string chat;  // JSON file

  // bench
  bool deterministic = false;
  std::string shape;  // a published shape with random weights
  std::vector<int64_t> bench_batch, bench_context, bench_prefill, bench_prompts;  // sweeps
  int bench_tokens = 128;
  int bench_repeat = 5;
  int bench_requests = 0;  // 0: no measurement of throughput
  int bench_in = 128;
  int bench_out = 256;

  // plan
  std::string devices;      // "8xH200"; empty: this machine's
  std::string calibration;  // file
  std::string emit;         // mpirun, slurm, multinode, ring; empty: nothing
  std::string output = ".";

  // completion SHELL, help COMMAND
  std::vector<std::string> arguments;
};

}  // namespace dinfer
