#include "server/engine_driver.h"

#include <utility>

#include "base/error.h"

namespace dinfer {

namespace {

// Signals do not wake the loop: it looks for them this often when idle.
constexpr std::chrono::milliseconds kIdlePoll{50};
constexpr std::chrono::milliseconds kExpiryPoll{50};
constexpr std::chrono::milliseconds kHeartbeat{static_cast<int>(Engine::kHeartbeatSeconds * 1000)};

}  // namespace

void EngineDriver::submit(std::vector<EngineJob> jobs) {
  {
    const std::lock_guard lock(mutex_);
    waiting_ += jobs.size();
    for (EngineJob& job : jobs) jobs_.push_back(std::move(job));
  }
  arrived_.notify_one();
}

void EngineDriver::cancel(std::vector<uint64_t> handles) {
  {
    const std::lock_guard lock(mutex_);
    cancels_.insert(cancels_.end(), handles.begin(), handles.end());
  }
  arrived_.notify_one();
}

EngineStats EngineDriver::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

bool EngineDriver::run(Engine& engine, const std::function<Wish()>& wish, double drain_s,
                       const std::function<void()>& on_drain,
                       const std::function<bool()>& delivered) {
  std::optional<Clock::time_point> drain_until;
  bool all_ended = false;
  try {
    for (;;) {
      take_in(engine);
      const Wish wanted = wish();
      if (wanted != Wish::go_on && !drain_until) {
        drain_until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                         std::chrono::duration<double>(drain_s));
        on_drain();
      }
      all_ended = drain_until && live_.empty() && delivered();
      if (all_ended) break;
      if (drain_until && (wanted == Wish::stop_now || Clock::now() > *drain_until)) break;
      expire(engine);
      const auto begin = Clock::now();
      if (engine.step()) {
        publish(engine, std::chrono::duration<double>(Clock::now() - begin).count());
        next_heartbeat_ = Clock::now() + kHeartbeat;
        flush();
      } else {
        flush();
        pause(engine);
      }
    }
  } catch (const std::exception& error) {
    end_all(500, fmt::format("the engine failed: {}", error.what()));
    throw;
  }
  end_all(503, "the server is shutting down");
  return all_ended;
}

void EngineDriver::take_in(Engine& engine) {
  std::vector<EngineJob> jobs;
  std::vector<uint64_t> cancels;
  {
    const std::lock_guard lock(mutex_);
    jobs = std::exchange(jobs_, {});
    cancels = std::exchange(cancels_, {});
  }
  for (EngineJob& job : jobs) start(engine, std::move(job));
  for (const uint64_t handle : cancels) {
    if (auto live = live_.extract(handle)) engine.cancel(live.mapped().id);
  }
}

void EngineDriver::start(Engine& engine, EngineJob job) {
  const uint64_t handle = job.handle;
  const auto report = [this, handle](EngineEvent::Kind kind, const TokenEvent& token) {
    events_.push_back({.kind = kind,
                       .handle = handle,
                       .id = token.id,
                       .logprob = token.logprob,
                       .top = {token.top.begin(), token.top.end()}});
  };
  Request& request = job.request;
  if (request.score) {
    request.on_prompt_token = [report](const TokenEvent& token) {
      report(EngineEvent::Kind::prompt_token, token);
    };
  }
  request.on_token = [report](const TokenEvent& token) {
    report(EngineEvent::Kind::token, token);
    return true;
  };
  request.on_done = [this, handle](const Finish& finish) {
    if (live_.erase(handle) == 0) return;  // cancelled, or too late: nobody waits
    events_.push_back({.kind = EngineEvent::Kind::done, .handle = handle, .finish = finish});
  };
  Live live{.deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                           std::chrono::duration<double>(job.timeout_s))};
  try {
    live.id = engine.submit(std::move(request));
    live_[handle] = live;
  } catch (const Error& error) {
    events_.push_back({.kind = EngineEvent::Kind::failed,
                       .handle = handle,
                       .status = 400,
                       .error = error.what()});
  }
}

void EngineDriver::expire(Engine& engine) {
  const auto now = Clock::now();
  if (now < next_expiry_) return;
  next_expiry_ = now + kExpiryPoll;
  for (auto it = live_.begin(); it != live_.end();) {
    if (now < it->second.deadline) {
      ++it;
      continue;
    }
    engine.cancel(it->second.id);
    events_.push_back({.kind = EngineEvent::Kind::failed,
                       .handle = it->first,
                       .status = 408,
                       .error = "the request's time has run out"});
    it = live_.erase(it);
  }
}

void EngineDriver::end_all(int status, const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    for (const EngineJob& job : jobs_) live_[job.handle] = {};
    jobs_.clear();
  }
  for (const auto& [handle, live] : live_) {
    events_.push_back(
        {.kind = EngineEvent::Kind::failed, .handle = handle, .status = status, .error = why});
  }
  live_.clear();
  flush();
}

void EngineDriver::publish(const Engine& engine, double step_s) {
  const Scheduler& scheduler = engine.scheduler();
  const std::lock_guard lock(mutex_);
  stats_.steps = engine.steps();
  stats_.step_s += step_s;
  stats_.waiting = scheduler.waiting() + jobs_.size();
  stats_.running = scheduler.running();
  stats_.preemptions = scheduler.preemptions();
  stats_.admitted_tokens = scheduler.admitted_tokens();
  stats_.cached_tokens = scheduler.cached_tokens();
  stats_.free_blocks = scheduler.free_blocks();
  const auto replicas = static_cast<size_t>(scheduler.limits().replicas);
  stats_.blocks = int64_t{scheduler.limits().blocks} * scheduler.limits().replicas;
  stats_.replicas.resize(replicas);
  for (size_t replica = 0; replica < replicas; ++replica)
    stats_.replicas[replica] = {.running = scheduler.running(replica),
                                .free_blocks = scheduler.free_blocks(replica)};
  waiting_ = stats_.waiting;
  const Engine::Report& report = engine.report();
  if (report.number == last_report_) return;
  last_report_ = report.number;
  ranks_.take(report.ranks);
  stats_.ranks = std::make_shared<const RankSummary>(ranks_.summary());
}

void EngineDriver::flush() {
  if (!events_.empty()) sink_(std::exchange(events_, {}));
}

// Sleeps until something arrives; the ranks get their heartbeats meanwhile.
void EngineDriver::pause(Engine& engine) {
  publish(engine, 0);
  if (Clock::now() >= next_heartbeat_) {
    engine.heartbeat();
    next_heartbeat_ = Clock::now() + kHeartbeat;
  }
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, kIdlePoll, [this] { return !jobs_.empty() || !cancels_.empty(); });
}

}  // namespace dinfer
