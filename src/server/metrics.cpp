#include "server/metrics.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/build_info.h"

namespace dinfer {

namespace {

// A label's value: backslash, quote and line end escaped.
std::string escaped(const std::string& value) {
  std::string result;
  for (const char c : value) {
    if (c == '\n') {
      result += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') result += '\\';
    result += c;
  }
  return result;
}

}  // namespace

class Metrics::Page {
 public:
  Page(std::string& out, std::string labels) : out_(out), labels_(std::move(labels)) {}

  void series(const std::string& name, const char* type, const char* help) {
    out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  void value(const std::string& name, double number, const std::string& more = "") {
    out_ += fmt::format("{}{{{}{}}} {}\n", name, labels_, more, number);
  }
  void gauge(const std::string& name, const char* help, double number) {
    series(name, "gauge", help);
    value(name, number);
  }
  void counter(const std::string& name, const char* help, uint64_t number) {
    series(name, "counter", help);
    value(name, static_cast<double>(number));
  }
  void histogram(const std::string& name, const char* help, const Histogram& counts) {
    counts.print(name, help, labels_, out_);
  }

 private:
  std::string& out_;
  std::string labels_;
};

// What each rank has done since the start.
void Metrics::print_ranks(Page& page, const RankSummary& ranks) {
  const auto series = [&](const std::string& name, const char* type, const char* help,
                          auto&& number_of) {
    page.series("dinfer_rank_" + name, type, help);
    for (size_t rank = 0; rank < ranks.total.size(); ++rank)
      page.value("dinfer_rank_" + name, static_cast<double>(number_of(ranks.total[rank])),
                 fmt::format(",rank=\"{}\"", rank));
  };
  series("steps_total", "counter", "Steps of a rank", [](auto& r) { return r.steps; });
  series("step_seconds_total", "counter", "Time of a rank in steps",
         [](auto& r) { return r.step_s; });
  series("collective_seconds_total", "counter",
         "Time of a rank in collectives and messages, part of that in steps",
         [](auto& r) { return r.collective_s; });
  series("plan_wait_seconds_total", "counter", "Time of a rank between steps",
         [](auto& r) { return r.plan_wait_s; });
  series("collective_bytes_total", "counter",
         "Bytes of hidden states that a rank summed up, sent and received",
         [](auto& r) { return r.moved_bytes; });
  series("memory_bytes", "gauge", "Resident memory of a rank's process",
         [](auto& r) { return r.memory_bytes; });
}

void Histogram::observe(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  ++counts_[static_cast<size_t>(bucket)];
  sum_ += value;
}

void Histogram::print(const std::string& name, const std::string& help, const std::string& labels,
                      std::string& out) const {
  out += fmt::format("# HELP {} {}\n# TYPE {} histogram\n", name, help, name);
  uint64_t total = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    total += counts_[i];
    const std::string bound = i < bounds_.size() ? fmt::format("{}", bounds_[i]) : "+Inf";
    out += fmt::format("{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, bound, total);
  }
  out +=
      fmt::format("{}_sum{{{}}} {}\n{}_count{{{}}} {}\n", name, labels, sum_, name, labels, total);
}

Metrics::Metrics()
    : time_to_first_token({0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25, 0.5,
                           0.75,  1.0,   2.5,  5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0}),
      inter_token_latency({0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4,
                           0.5, 0.75, 1.0, 2.5, 5.0}),
      request_latency({0.05, 0.1,  0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,  10.0,
                       15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0}) {}

// What dashboards for vLLM read, by our names and by theirs.
void Metrics::print_common(Page& page, const std::string& prefix, const EngineStats& engine) const {
  const auto in_use = static_cast<double>(engine.blocks - engine.free_blocks);
  const double kv_use = engine.blocks > 0 ? in_use / static_cast<double>(engine.blocks) : 0;
  page.gauge(prefix + "num_requests_running", "Sequences in work",
             static_cast<double>(engine.running));
  page.gauge(prefix + "num_requests_waiting", "Sequences that wait",
             static_cast<double>(engine.waiting));
  page.gauge(prefix + "kv_cache_usage_perc", "Share of the KV blocks in use", kv_use);
  page.counter(prefix + "num_preemptions_total", "Sequences computed again for lack of KV blocks",
               engine.preemptions);
  page.counter(prefix + "prefix_cache_queries_total", "Tokens looked up in the prefix cache",
               engine.admitted_tokens);
  page.counter(prefix + "prefix_cache_hits_total", "Tokens found in the prefix cache",
               engine.cached_tokens);
  page.counter(prefix + "prompt_tokens_total", "Tokens of prompts", prompt_tokens);
  page.counter(prefix + "generation_tokens_total", "Tokens of answers", generation_tokens);
  page.series(prefix + "request_success_total", "counter", "Finished sequences");
  for (const auto& [reason, count] : finishes_) {
    page.value(prefix + "request_success_total", static_cast<double>(count),
               fmt::format(",finished_reason=\"{}\"", reason));
  }
  page.histogram(prefix + "time_to_first_token_seconds", "From a request to its first token",
                 time_to_first_token);
  page.histogram(prefix + "inter_token_latency_seconds", "From token to token",
                 inter_token_latency);
  page.histogram(prefix + "e2e_request_latency_seconds", "From a request to its end",
                 request_latency);
}

std::string Metrics::text(const std::string& model, int ranks, const EngineStats& engine,
                          const HttpCounts& http) const {
  std::string out;
  Page own(out, fmt::format("model=\"{}\"", escaped(model)));
  own.series("dinfer_build_info", "gauge", "Version of the program");
  own.value("dinfer_build_info", 1, fmt::format(",version=\"{}\"", build_info().version));
  own.gauge("dinfer_ranks", "Ranks of the job", ranks);
  own.counter("dinfer_steps_total", "Steps of the engine", engine.steps);
  own.series("dinfer_step_seconds_total", "counter", "Time in steps of the engine");
  own.value("dinfer_step_seconds_total", engine.step_s);
  own.gauge("dinfer_kv_blocks", "KV blocks", static_cast<double>(engine.blocks));
  own.gauge("dinfer_kv_blocks_free", "KV blocks that no sequence has",
            static_cast<double>(engine.free_blocks));
  const auto by_replica = [&](const char* name, const char* help, const auto& value) {
    own.series(name, "gauge", help);
    for (size_t replica = 0; replica < engine.replicas.size(); ++replica)
      own.value(name, static_cast<double>(value(engine.replicas[replica])),
                fmt::format(",replica=\"{}\"", replica));
  };
  by_replica("dinfer_replica_requests_running", "Sequences in work, by copy of the model",
             [](const ReplicaStats& stats) { return stats.running; });
  by_replica("dinfer_replica_kv_blocks_free", "KV blocks that no sequence has, likewise",
             [](const ReplicaStats& stats) { return stats.free_blocks; });
  if (engine.ranks) print_ranks(own, *engine.ranks);
  own.gauge("dinfer_http_connections", "Open connections", static_cast<double>(http.connections));
  own.counter("dinfer_http_connections_total", "Connections accepted", http.accepted);
  own.counter("dinfer_http_slow_readers_total", "Answers given up because nobody read them",
              http.slow_readers);
  own.series("dinfer_http_requests_total", "counter", "Answered requests");
  for (const auto& [key, count] : answers_) {
    own.value("dinfer_http_requests_total", static_cast<double>(count),
              fmt::format(",path=\"{}\",status=\"{}\"", escaped(key.first), key.second));
  }
  own.series("dinfer_http_rejected_total", "counter", "Requests turned away");
  own.value("dinfer_http_rejected_total", static_cast<double>(http.refused), ",reason=\"http\"");
  for (const auto& [reason, count] : refusals_) {
    own.value("dinfer_http_rejected_total", static_cast<double>(count),
              fmt::format(",reason=\"{}\"", reason));
  }

  print_common(own, "dinfer_", engine);
  Page common(out, fmt::format("model_name=\"{}\"", escaped(model)));
  print_common(common, "vllm:", engine);
  return out;
}

}  // namespace dinfer
