#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "server/rank_table.h"

namespace dinfer {

// One sequence for the engine. `handle` is the sender's name for it, never used twice.
struct EngineJob {
  uint64_t handle = 0;
  Request request;  // without callbacks
  double timeout_s = 0;
};

// What became of a sequence, in order: prompt tokens, tokens, one `done` or `failed`.
struct EngineEvent {
  enum class Kind : uint8_t { prompt_token, token, done, failed };
  Kind kind = Kind::token;
  uint64_t handle = 0;
  int32_t id = -1;
  float logprob = 0;
  std::vector<TokenLogprob> top;
  Finish finish;      // done
  int status = 0;     // failed: as an HTTP status
  std::string error;  // failed
};

// What one copy of the model has.
struct ReplicaStats {
  uint64_t running = 0;
  int64_t free_blocks = 0;
};

// Figures of the engine, as of its last step.
struct EngineStats {
  uint64_t steps = 0;
  double step_s = 0;  // of all steps together
  uint64_t waiting = 0, running = 0, preemptions = 0;
  uint64_t admitted_tokens = 0, cached_tokens = 0;
  int64_t free_blocks = 0, blocks = 0;  // of all replicas
  std::vector<ReplicaStats> replicas;
  std::shared_ptr<const RankSummary> ranks;  // none before they told anything
};

// The engine's loop beside a server: sequences come in from other threads, events go out in one
// batch a step. run() and observe() are called by the engine's thread; the rest may be called by
// any.
class EngineDriver {
 public:
  enum class Wish : uint8_t { go_on, drain, stop_now };
  using Sink = std::function<void(std::vector<EngineEvent>)>;

  explicit EngineDriver(Sink sink) : sink_(std::move(sink)) {}

  void submit(std::vector<EngineJob> jobs);
  void cancel(std::vector<uint64_t> handles);  // no event follows

  // Sequences that no step has worked on yet.
  size_t waiting() const { return waiting_.load(); }
  EngineStats stats() const;

  // Takes the engine's figures before its first step, so that stats() has them from the start.
  void observe(const Engine& engine) { publish(engine, 0); }

  // Steps until `wish` says to stop, and then until all sequences have ended and their answers are
  // `delivered`, at most `drain_s` seconds more, or until it says to stop now. True: so it came;
  // otherwise sequences were told that the server stops. Where a step fails they are told so, and
  // its error goes on.
  bool run(Engine& engine, const std::function<Wish()>& wish, double drain_s,
           const std::function<void()>& on_drain, const std::function<bool()>& delivered);

 private:
  using Clock = std::chrono::steady_clock;
  struct Live {
    uint64_t id = 0;  // the engine's
    Clock::time_point deadline;
  };

  void take_in(Engine& engine);
  void start(Engine& engine, EngineJob job);
  void expire(Engine& engine);
  void end_all(int status, const std::string& why);
  void publish(const Engine& engine, double step_s);
  void flush();
  void pause(Engine& engine);

  Sink sink_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<EngineJob> jobs_;
  std::vector<uint64_t> cancels_;
  EngineStats stats_;
  uint64_t last_report_ = 0;
  RankTable ranks_;
  std::atomic<size_t> waiting_{0};

  // Of the engine's thread.
  std::unordered_map<uint64_t, Live> live_;  // by handle
  std::vector<EngineEvent> events_;
  Clock::time_point next_heartbeat_, next_expiry_;
};

}  // namespace dinfer
