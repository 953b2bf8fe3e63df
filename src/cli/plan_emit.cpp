#include "cli/plan_emit.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/shell_word.h"

namespace dinfer {
namespace {

namespace fs = std::filesystem;

constexpr int kPort = 9400;  // where ranks meet; those of a ring listen at the ports after it

class Emitter {
 public:
  Emitter(const Options& options, const PlanReport& report)
      : options_(options),
        report_(report),
        layout_(report.chosen.candidate),
        ranks_(static_cast<int>(layout_.devices.size())),
        nodes_(nodes_of(layout_, report.machines)) {
    if (ranks_ % nodes_ != 0)
      fail(ExitCode::config, "--emit {}: {} ranks on {} nodes: the scripts start as many on each",
           options.emit, ranks_, nodes_);
  }

  void emit() const {
    if (options_.emit == "mpirun") return mpirun();
    if (options_.emit == "slurm") return slurm();
    if (options_.emit == "multinode") return multinode();
    ring();
  }

 private:
  int ranks_a_node() const { return ranks_ / nodes_; }

  int gpus_a_node() const {
    const auto gpus = std::ranges::count_if(layout_.devices, [&](int device) {
      return !report_.machines.devices[static_cast<size_t>(device)].kind.cpu;
    });
    return static_cast<int>(gpus) / nodes_;
  }

  // What the scripts run: a command with its options, then those that the script is given.
  std::string arguments() const {
    const Options& o = options_;
    std::string text =
        o.shape.empty() ? "-m " + shell_word(o.model) : "--shape " + shell_word(o.shape);
    const auto add = [&](bool given, const std::string& words) {
      if (given) text += " " + words;
    };
    add(!layout_.options.empty(), layout_.options);
    add(report_.machines.gpus() == 0, "--cpu");
    add(o.no_p2p, "--no-p2p");
    add(o.revision != "main", "--revision " + shell_word(o.revision));
    add(o.quant_group != 32, fmt::format("--quant-group {}", o.quant_group));
    add(o.max_seq_len > 0, fmt::format("--max-seq-len {}", o.max_seq_len));
    add(o.threads > 0, fmt::format("--threads {}", o.threads));
    add(!o.memory_limit.empty(), "--memory-limit " + shell_word(o.memory_limit));
    add(o.kv_memory_fraction != 0.9, fmt::format("--kv-memory-fraction {}", o.kv_memory_fraction));
    add(o.kv_block_size != 16, fmt::format("--kv-block-size {}", o.kv_block_size));
    add(o.kv_dtype != "auto", "--kv-dtype " + o.kv_dtype);
    add(o.kv_blocks > 0, fmt::format("--kv-blocks {}", o.kv_blocks));
    add(o.max_seqs != 64, fmt::format("--max-seqs {}", o.max_seqs));
    add(o.max_batch_tokens > 0, fmt::format("--max-batch-tokens {}", o.max_batch_tokens));
    return text;
  }

  // The head of every script; `usage` tells how to call it.
  std::string opening(const std::string& usage, const std::string& directives = "") const {
    return fmt::format(
        "#!/usr/bin/env bash\n# {} on {}: {}, {} rank{}. Written by dinfer plan.\n# {}\n{}"
        "set -euo pipefail\ndinfer=${{DINFER_BINARY:-dinfer}}\n[ $# -gt 0 ] || set -- {}\n"
        "command=$1\nshift\n",
        report_.model, report_.machines.text, layout_.mode, ranks_, ranks_ == 1 ? "" : "s", usage,
        directives, options_.shape.empty() ? "serve" : "bench");
  }

  std::string run() const { return fmt::format("\"$dinfer\" \"$command\" {} \"$@\"", arguments()); }

  void mpirun() const {
    // mpirun counts a core as room for one rank.
    std::string room = fmt::format(
        "[ \"$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)\" -ge {} ] || "
        "options+=(--oversubscribe)\n",
        ranks_);
    if (nodes_ > 1) {
      room = "options+=(--hostfile \"$(dirname \"$0\")/plan-hosts\")\n";
      std::string file = "# Put the names of your hosts here.\n";
      for (int node = 0; node < nodes_; ++node)
        file += fmt::format("node{} slots={}\n", node, ranks_a_node());
      write("plan-hosts", file, false);
    }
    write("plan-mpirun",
          opening("./plan-mpirun [COMMAND [ARGUMENTS]]") +
              fmt::format("options=(-np {} --bind-to none)\n{}exec mpirun \"${{options[@]}}\" {}\n",
                          ranks_, room, run()),
          true);
  }

  void slurm() const {
    // CPU ranks compute with all cores of their node; GPU ranks may leave GPUs to other jobs.
    const int gpus = gpus_a_node();
    const std::string directives = fmt::format(
        "#SBATCH --job-name=dinfer\n#SBATCH --nodes={}\n#SBATCH --ntasks-per-node={}\n{}{}"
        "#SBATCH --time=08:00:00\n",
        nodes_, ranks_a_node(), gpus > 0 ? fmt::format("#SBATCH --gpus-per-node={}\n", gpus) : "",
        gpus < ranks_a_node() ? "#SBATCH --exclusive\n" : "");
    write("plan.sbatch",
          opening("sbatch [--cpus-per-task=N] plan.sbatch [COMMAND [ARGUMENTS]]", directives) +
              fmt::format("exec srun --mpi=pmix "
                          "${{SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}} {}\n",
                          run()),
          true);
  }

  void multinode() const {
    const std::string usage =
        nodes_ == 1 ? "./plan-multinode [COMMAND [ARGUMENTS]]; PORT=N chooses another port"
                    : "on node I, with one DINFER_SECRET on all: NODE=I HEAD=name-of-node-0 "
                      "./plan-multinode "
                      "[COMMAND [ARGUMENTS]]";
    write("plan-multinode",
          opening(usage) +
              fmt::format(
                  "export MISTRALRS_MN_GLOBAL_WORLD_SIZE={} MISTRALRS_MN_LOCAL_WORLD_SIZE={}\n"
                  "if [ \"${{NODE:-0}}\" = 0 ]; then\n"
                  "  export MISTRALRS_MN_HEAD_NUM_WORKERS={} MISTRALRS_MN_HEAD_PORT=${{PORT:-{}}}\n"
                  "else\n"
                  "  export MISTRALRS_MN_WORKER_SERVER_ADDR=$HEAD:${{PORT:-{}}} "
                  "MISTRALRS_MN_WORKER_ID=$((NODE - 1))\n"
                  "fi\nexec {}\n",
                  ranks_, ranks_a_node(), nodes_ - 1, kPort, kPort, run()),
          true);
  }

  void ring() const {
    if (ranks_ < 2)
      fail(ExitCode::config, "--emit ring: a ring has at least two ranks, this has one");
    const auto host = [&](int rank) {
      return nodes_ == 1 ? std::string("127.0.0.1") : fmt::format("node{}", rank / ranks_a_node());
    };
    for (int rank = 0; rank < ranks_; ++rank) {
      const int right = (rank + 1) % ranks_;
      const OrderedJson file{{"rank", rank},
                             {"world_size", ranks_},
                             {"master_ip", host(0)},
                             {"master_port", kPort},
                             {"port", kPort + 1 + rank},
                             {"right_ip", host(right)},
                             {"right_port", kPort + 1 + right}};
      write(fmt::format("plan-ring{}.json", rank), file.dump() + "\n", false);
    }
    const bool even = std::has_single_bit(static_cast<unsigned>(ranks_));
    const std::string command = run() + (even ? "" : " --ring-any-size");
    const std::string usage =
        nodes_ == 1 ? "./plan-ring [COMMAND [ARGUMENTS]]"
                    : "put the names of your hosts into plan-ring*.json, then on node I, with one "
                      "DINFER_SECRET on all: NODE=I "
                      "./plan-ring [COMMAND [ARGUMENTS]]";
    write("plan-ring",
          opening(usage) +
              // Signals are for the head, which ends the others.
              fmt::format("export MISTRALRS_NO_NCCL=1\nfiles=$(dirname \"$0\")\n"
                          "first=$((${{NODE:-0}} * {}))\n"
                          "for ((rank = first + 1; rank < first + {}; rank++)); do\n"
                          "  (trap '' INT TERM && RING_CONFIG=$files/plan-ring$rank.json exec {} < "
                          "/dev/null) &\ndone\n"
                          "RING_CONFIG=$files/plan-ring$first.json exec {}\n",
                          ranks_a_node(), ranks_a_node(), command, command),
          true);
  }

  void write(const std::string& name, const std::string& text, bool executable) const {
    const fs::path path = fs::path(options_.output) / name;
    std::error_code problem;
    fs::create_directories(path.parent_path(), problem);
    std::ofstream file(path);
    file << text;
    file.close();
    if (!file)
      fail(ExitCode::config, "--emit {}: cannot write {}: choose a folder by --output",
           options_.emit, path.string());
    if (executable)
      fs::permissions(path, fs::perms::owner_exec | fs::perms::group_exec | fs::perms::others_exec,
                      fs::perm_options::add, problem);
    log::info("wrote {}", path.string());
  }

  const Options& options_;
  const PlanReport& report_;
  const LayoutChoice& layout_;
  int ranks_;
  int nodes_;
};

}  // namespace

void emit_files(const Options& options, const PlanReport& report) {
  Emitter(options, report).emit();
}

}  // namespace dinfer
