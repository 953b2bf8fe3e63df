#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/engine_driver.h"
#include "server/http_server.h"

namespace dinfer {

// Counts of observations up to bounds, as Prometheus has them.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value);
  void print(const std::string& name, const std::string& help, const std::string& labels,
             std::string& out) const;

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;  // by bucket, the last beyond all bounds
  double sum_ = 0;
};

// What the server counts. Lives on the server's thread.
class Metrics {
 public:
  Metrics();

  Histogram time_to_first_token, inter_token_latency, request_latency;
  uint64_t prompt_tokens = 0, generation_tokens = 0;

  void count_finish(const std::string& reason) { ++finishes_[reason]; }
  void count_answer(const std::string& path, int status) { ++answers_[{path, status}]; }
  void count_refusal(const std::string& reason) { ++refusals_[reason]; }

  // Prometheus text, version 0.0.4: dinfer_* and, under vLLM's names, what dashboards read.
  std::string text(const std::string& model, int ranks, const EngineStats& engine,
                   const HttpCounts& http) const;

 private:
  class Page;
  static void print_ranks(Page& page, const RankSummary& ranks);
  void print_common(Page& page, const std::string& prefix, const EngineStats& engine) const;

  std::map<std::string, uint64_t> finishes_;
  std::map<std::pair<std::string, int>, uint64_t> answers_;
  std::map<std::string, uint64_t> refusals_;
};

}  // namespace dinfer
