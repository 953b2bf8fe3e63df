#include "engine/engine.h"

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <random>

#include <gtest/gtest.h>

#include "bootstrap/single_control_plane.h"
#include "comm/members.h"
#include "tests/support/reference_device.h"
#include "tests/support/thread_world.h"
#include "tests/support/tiny_model.h"

namespace dinfer {
namespace {

SchedulerLimits roomy() {
  return {.max_seqs = 4,
          .max_batch_tokens = 16,
          .max_logit_rows = 16,
          .max_seq_len = 128,
          .block_size = 16,
          .blocks = 40};
}

// The head's plans, as they reach ranks that are threads.
class PlanList {
 public:
  void add(const Bytes& plan) {
    const std::lock_guard lock(mutex_);
    plans_.push_back(plan);
    changed_.notify_all();
  }
  Bytes wait_for(size_t index) {
    std::unique_lock lock(mutex_);
    const bool came =
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return plans_.size() > index; });
    if (!came) fail(ExitCode::peer, "the head is silent");
    return plans_[index];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Bytes> plans_;
};

// As much of a control plane as the loop uses.
class ThreadPlane final : public ControlPlane {
 public:
  ThreadPlane(Communicator& group, PlanList& plans) : group_(group), plans_(plans) {}
  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  void broadcast(Bytes& message, Deadline) override {
    if (rank() == 0)
      plans_.add(message);
    else
      message = plans_.wait_for(next_++);
  }
  // Of messages of one length.
  std::vector<Bytes> all_gather(const Bytes& message, Deadline) override {
    const auto each = static_cast<std::ptrdiff_t>(message.size());
    Bytes all(message.size() * static_cast<size_t>(size()));
    group_.all_gather_host(message, all);
    std::vector<Bytes> parts;
    for (auto at = all.begin(); at != all.end(); at += each) parts.emplace_back(at, at + each);
    return parts;
  }
  void barrier(Deadline) override {
    const Bytes nothing(1);
    Bytes all(static_cast<size_t>(size()));
    group_.all_gather_host(nothing, all);
  }
  [[noreturn]] void fail_late(const std::vector<int>&, std::chrono::duration<double>,
                              std::string_view) override {
    throw Bug("not used");
  }
  [[noreturn]] void fail_diverged(int, std::string_view, std::string_view) override {
    throw Bug("not used");
  }
  [[noreturn]] void abort(ExitCode) override { throw Bug("not used"); }

 private:
  Communicator& group_;
  PlanList& plans_;
  size_t next_ = 0;
};

ModelConfig four_layers() {
  ModelConfig config = test::tiny_config();
  config.layers = 4;
  config.window.assign(4, 0);
  return config;
}

// How ranks share a model.
struct Ways {
  int stages = 1, replicas = 1;
};

// One rank of a tiny model on the reference device.
class Rank {
 public:
  Rank(Communicator& job, const SchedulerLimits& limits, Ways ways = {})
      : config_(four_layers()), ranks_(job.size() / ways.replicas), replica_(job.rank() / ranks_) {
    const int place = job.rank() % ranks_;
    placement_ = pipeline(config_, ranks_ / ways.stages, ways.stages, 32);
    all_ = test::subgroup(job, members(all_ranks(ranks_)));
    group_ = test::subgroup(job, members(placement_.group_of(place)));
    const Shard& shard = placement_.shards[static_cast<size_t>(place)];
    const auto checkpoint = test::tiny_checkpoint(config_, 11);
    model_ = std::make_unique<Transformer>(
        *device_, ModelPeers{*group_, *all_, placement_.stages_of(place)}, config_, shard,
        load_weights(*checkpoint, config_, shard, {}, *device_),
        KvCache(*device_, config_, shard, device_->kv_type(), limits.block_size, limits.blocks),
        StepLimits{.rows = limits.max_batch_tokens,
                   .logit_rows = limits.max_logit_rows,
                   .positions = limits.max_seq_len});
    const std::vector<int>& last = placement_.stages.back().ranks;
    if (shard.owns(unit::head(config_.layers))) {
      std::vector<Range> slices;
      for (const int rank : last)
        slices.push_back(placement_.shards[static_cast<size_t>(rank)].vocab);
      sampler_ = std::make_unique<Sampler>(*device_, *group_, slices);
    }
    const PlanLimits bounds{.slots = static_cast<uint32_t>(limits.max_seqs),
                            .blocks = limits.blocks,
                            .vocab = static_cast<int32_t>(config_.vocab),
                            .rows = limits.max_batch_tokens,
                            .replicas = static_cast<uint32_t>(ways.replicas)};
    ResultRoute route{.all = job, .reporters = {}, .replica = static_cast<uint32_t>(replica_)};
    for (int each = 0; each < ways.replicas; ++each)
      route.reporters.push_back(each * ranks_ + last.front());
    worker_ = std::make_unique<Worker>(*model_, sampler_.get(), route, bounds, limits.max_seq_len,
                                       calls_);
  }

  Worker& worker() { return *worker_; }

 private:
  // Ranks of the job, of those of this replica.
  std::vector<int> members(std::vector<int> places) const {
    for (int& place : places) place += replica_ * ranks_;
    return places;
  }

  ModelConfig config_;
  int ranks_, replica_;
  Placement placement_;
  std::unique_ptr<Communicator> all_, group_;
  std::unique_ptr<Device> device_ = make_reference_device();
  std::unique_ptr<Transformer> model_;
  std::unique_ptr<Sampler> sampler_;
  CallTime calls_;
  std::unique_ptr<Worker> worker_;
};

std::vector<int32_t> random_prompt(size_t length, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(length);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % 80);
  return ids;
}

struct Got {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  FinishReason reason = FinishReason::cancelled;
};

// Submits the requests and runs them to their ends; what each gave, in order.
std::vector<Got> run(Engine& engine, const std::vector<Request>& requests) {
  std::vector<Got> got(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    Request request = requests[i];
    Got& result = got[i];
    request.on_token = [&result](const TokenEvent& event) {
      result.tokens.push_back(event.id);
      result.logprobs.push_back(event.logprob);
      return true;
    };
    request.on_done = [&result](const Finish& finish) { result.reason = finish.reason; };
    engine.submit(std::move(request));
  }
  engine.run_until_idle();
  return got;
}

// The requests on a group of threads: rank 0 leads, the others follow its plans.
std::vector<Got> run_on(int ranks, SchedulerLimits limits, const std::vector<Request>& requests,
                        Ways ways = {}) {
  limits.depth = ways.stages;
  limits.replicas = ways.replicas;
  PlanList plans;
  std::vector<Got> got;
  test::spawn(ranks, [&](Communicator& group) {
    Rank rank(group, limits, ways);
    ThreadPlane control(group, plans);
    if (group.rank() > 0) {
      EXPECT_EQ(run_worker(rank.worker(), control, 60), 17);
      return;
    }
    Engine engine(rank.worker(), control, limits, 60, 5);
    got = run(engine, requests);
    engine.heartbeat();
    engine.shut_down(17);
  });
  return got;
}

std::vector<Request> mixed_requests() {
  std::vector<Request> requests;
  for (uint32_t i = 0; i < 7; ++i) {
    Request request{.prompt = random_prompt(1 + i * 9, i), .max_tokens = 12};
    request.sampling.temperature = i % 2 ? 0.9f : 0.0f;
    request.sampling.top_k = i % 3 ? 20 : 0;
    request.sampling.seed = i;
    request.sampling.repetition_penalty = i == 4 ? 1.3f : 1.0f;
    request.report.logprobs = true;
    requests.push_back(request);
  }
  return requests;
}

TEST(Engine, a_request_gives_the_same_tokens_alone_and_in_any_company) {
  const auto together = run_on(1, roomy(), mixed_requests());
  for (size_t i = 0; i < together.size(); ++i) {
    const auto alone = run_on(1, roomy(), {mixed_requests()[i]})[0];
    EXPECT_EQ(alone.tokens, together[i].tokens) << "request " << i;
    EXPECT_EQ(together[i].tokens.size(), 12u);
    EXPECT_EQ(together[i].reason, FinishReason::length);
  }
}

TEST(Engine, ranks_that_split_the_model_give_what_one_rank_gives) {
  const auto alone = run_on(1, roomy(), mixed_requests());
  for (int ranks : {2, 4}) {
    const auto split = run_on(ranks, roomy(), mixed_requests());
    for (size_t i = 0; i < alone.size(); ++i)
      EXPECT_EQ(split[i].tokens, alone[i].tokens) << ranks << " ranks, request " << i;
  }
}

TEST(Engine, stages_give_what_one_rank_gives) {
  const auto requests = mixed_requests();
  const auto alone = run_on(1, roomy(), requests);
  SchedulerLimits narrow = roomy();
  narrow.blocks = 9;
  narrow.max_seq_len = 96;
  for (const auto& [ranks, stages, limits] : {std::tuple{2, 2, roomy()},
                                              {2, 2, narrow},
                                              {4, 2, roomy()},
                                              {3, 3, roomy()},
                                              {6, 3, narrow}}) {
    const auto split = run_on(ranks, limits, requests, {.stages = stages});
    for (size_t i = 0; i < alone.size(); ++i) {
      EXPECT_EQ(split[i].tokens, alone[i].tokens) << ranks << " ranks, request " << i;
      for (size_t t = 0; t < alone[i].logprobs.size(); ++t)
        EXPECT_NEAR(split[i].logprobs[t], alone[i].logprobs[t], 1e-4);
    }
  }
}

TEST(Engine, replicas_give_what_one_rank_gives) {
  const auto requests = mixed_requests();
  const auto alone = run_on(1, roomy(), requests);
  SchedulerLimits narrow = roomy();
  narrow.blocks = 6;
  narrow.max_seq_len = 96;
  narrow.prefix_cache = true;
  for (const auto& [ranks, ways, limits] : {std::tuple{2, Ways{1, 2}, roomy()},
                                            {2, Ways{1, 2}, narrow},
                                            {3, Ways{1, 3}, roomy()},
                                            {4, Ways{1, 2}, roomy()},
                                            {4, Ways{2, 2}, roomy()},
                                            {8, Ways{2, 2}, narrow}}) {
    const auto split = run_on(ranks, limits, requests, ways);
    for (size_t i = 0; i < alone.size(); ++i)
      EXPECT_EQ(split[i].tokens, alone[i].tokens)
          << ranks << " ranks, " << ways.replicas << " replicas, request " << i;
  }
}

TEST(Engine, stages_tell_the_head_prompt_scores_and_whole_rows) {
  const auto score = [](int ranks, int stages) {
    std::vector<float> seen;
    PlanList plans;
    SchedulerLimits limits = roomy();
    limits.depth = stages;
    test::spawn(ranks, [&](Communicator& all) {
      Rank rank(all, limits, {.stages = stages});
      ThreadPlane control(all, plans);
      if (all.rank() > 0) {
        EXPECT_EQ(run_worker(rank.worker(), control, 60), 0);
        return;
      }
      Engine engine(rank.worker(), control, limits, 60, 5);
      Request request{.prompt = random_prompt(50, 3), .max_tokens = 0, .score = true};
      request.report = {.logprobs = true, .top = 2, .logits = true};
      request.on_prompt_token = [&](const TokenEvent& event) {
        seen.push_back(event.logprob);
        for (const TokenLogprob& top : event.top) seen.push_back(top.logprob);
      };
      request.on_logits = [&](const LogitsEvent& event) {
        seen.insert(seen.end(), event.logits.begin(), event.logits.end());
      };
      engine.submit(std::move(request));
      engine.run_until_idle();
      engine.shut_down(0);
    });
    return seen;
  };
  const std::vector<float> alone = score(1, 1), staged = score(4, 2);
  ASSERT_EQ(alone.size(), staged.size());
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_NEAR(alone[i], staged[i], 1e-4) << i;
}

TEST(Engine, a_sequence_cancelled_under_way_ends_at_once_and_leaves_the_others) {
  const auto requests = mixed_requests();
  const auto alone = run_on(1, roomy(), requests);
  PlanList plans;
  SchedulerLimits limits = roomy();
  limits.depth = 2;
  std::vector<int32_t> kept;
  int cancelled = 0;
  test::spawn(2, [&](Communicator& all) {
    Rank rank(all, limits, {.stages = 2});
    ThreadPlane control(all, plans);
    if (all.rank() > 0) {
      EXPECT_EQ(run_worker(rank.worker(), control, 60), 3);
      return;
    }
    Engine engine(rank.worker(), control, limits, 60, 5);
    std::vector<uint64_t> ids;
    for (size_t i = 0; i < requests.size(); ++i) {
      Request request = requests[i];
      request.on_token = [&kept, i](const TokenEvent& event) {
        if (i == 2) kept.push_back(event.id);
        return true;
      };
      request.on_done = [&cancelled](const Finish& finish) {
        cancelled += finish.reason == FinishReason::cancelled ? 1 : 0;
      };
      ids.push_back(engine.submit(std::move(request)));
    }
    for (int step = 0; engine.step(); ++step)
      if (step < 7 && step != 2) engine.cancel(ids[static_cast<size_t>(step)]);
    // What is still under way when the job ends is left where it is.
    engine.submit(requests[0]);
    engine.step();
    engine.shut_down(3);
  });
  EXPECT_EQ(cancelled, 6);
  EXPECT_EQ(kept, alone[2].tokens);
}

TEST(Engine, a_sequence_that_gave_way_goes_on_as_if_it_had_not) {
  SchedulerLimits narrow = roomy();
  narrow.blocks = 9;  // 144 tokens for requests that come to 24 to 79 each
  narrow.max_seq_len = 96;
  const auto requests = mixed_requests();
  const auto roomy_got = run_on(1, roomy(), requests);
  const auto narrow_got = run_on(1, narrow, requests);
  for (size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(narrow_got[i].tokens, roomy_got[i].tokens) << "request " << i;
}

TEST(Engine, a_cached_beginning_gives_what_computing_it_gives) {
  std::vector<Request> requests;
  for (const size_t length : {40u, 40u, 33u, 70u, 64u}) {  // each one a beginning of the longest
    Request request{.prompt = random_prompt(70, 3), .max_tokens = 20};
    request.prompt.resize(length);
    request.sampling.temperature = length == 33 ? 0.8f : 0.0f;
    request.sampling.repetition_penalty = length == 70 ? 1.5f : 1.0f;
    requests.push_back(request);
  }
  SchedulerLimits one_by_one = roomy();
  one_by_one.max_seqs = 1;
  const auto computed = run_on(1, one_by_one, requests);
  one_by_one.prefix_cache = true;
  for (const int ranks : {1, 2}) {
    const auto cached = run_on(ranks, one_by_one, requests);
    for (size_t i = 0; i < requests.size(); ++i)
      EXPECT_EQ(cached[i].tokens, computed[i].tokens) << ranks << " ranks, request " << i;
  }
}

TEST(Engine, scores_are_the_log_probabilities_that_generation_reports) {
  test::spawn(1, [&](Communicator& group) {
    Rank rank(group, roomy());
    const auto control = make_single_control_plane();
    Engine engine(rank.worker(), *control, roomy(), 60, 5);
    Request request{.prompt = random_prompt(20, 3), .max_tokens = 10};
    request.sampling.temperature = 0;
    request.report.logprobs = true;
    const Got generated = run(engine, {request})[0];

    std::vector<float> scores;
    std::vector<std::vector<float>> rows;
    Request score{.prompt = request.prompt, .max_tokens = 0, .score = true};
    score.prompt.insert(score.prompt.end(), generated.tokens.begin(), generated.tokens.end());
    score.report = {.logprobs = true, .top = 1, .logits = true};
    score.on_prompt_token = [&](const TokenEvent& event) {
      EXPECT_EQ(event.position, static_cast<int64_t>(scores.size()) + 1);
      if (event.position >= 20) {
        EXPECT_EQ(event.top[0].id, event.id) << "greedy tokens are the likeliest";
      }
      scores.push_back(event.logprob);
    };
    score.on_logits = [&](const LogitsEvent& event) {
      EXPECT_EQ(event.position, static_cast<int64_t>(rows.size()));
      rows.emplace_back(event.logits.begin(), event.logits.end());
    };
    engine.submit(std::move(score));
    engine.run_until_idle();
    ASSERT_EQ(scores.size(), 29u);
    ASSERT_EQ(rows.size(), 30u);
    EXPECT_EQ(rows[0].size(), 80u);
    for (size_t i = 0; i < 10; ++i) EXPECT_NEAR(scores[19 + i], generated.logprobs[i], 1e-4);
  });
}

TEST(Engine, a_token_that_the_model_does_not_have_is_refused) {
  test::spawn(1, [&](Communicator& group) {
    Rank rank(group, roomy());
    const auto control = make_single_control_plane();
    Engine engine(rank.worker(), *control, roomy(), 60, 5);
    for (const int32_t id : {-1, rank.worker().limits().vocab}) {
      try {
        engine.submit({.prompt = {1, id}});
        ADD_FAILURE() << id << " was taken";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::usage);
        EXPECT_NE(std::string(error.what()).find(std::to_string(id)), std::string::npos);
      }
    }
    EXPECT_FALSE(engine.step());
  });
}

TEST(Engine, a_client_can_stop_and_cancel) {
  test::spawn(1, [&](Communicator& group) {
    Rank rank(group, roomy());
    const auto control = make_single_control_plane();
    Engine engine(rank.worker(), *control, roomy(), 60, 5);
    std::map<int, FinishReason> reasons;
    int tokens = 0;
    Request stops{.prompt = {1, 2, 3}};
    stops.on_token = [&](const TokenEvent&) { return ++tokens < 5; };
    stops.on_done = [&](const Finish& finish) { reasons[0] = finish.reason; };
    engine.submit(std::move(stops));
    Request endless{.prompt = {4, 5}};
    endless.on_done = [&](const Finish& finish) { reasons[1] = finish.reason; };
    const uint64_t id = engine.submit(std::move(endless));
    for (int i = 0; i < 8; ++i) engine.step();
    EXPECT_EQ(tokens, 5);
    EXPECT_EQ(reasons.at(0), FinishReason::stop);
    EXPECT_FALSE(reasons.contains(1));
    engine.cancel(id);
    engine.run_until_idle();
    EXPECT_EQ(reasons.at(1), FinishReason::cancelled);
    EXPECT_FALSE(engine.step());
  });
}

TEST(Worker, a_plan_that_does_not_fit_its_state_is_refused) {
  test::spawn(1, [&](Communicator& group) {
    const auto refused = [&](const StepPlan& plan) {
      Rank rank(group, roomy());
      rank.worker().execute({.step = 1, .admissions = {{.slot = 0, .length_limit = 64}}});
      try {
        rank.worker().execute(plan);
      } catch (const Error& error) {
        return error.code() == ExitCode::peer;
      }
      return false;
    };
    const SlotWork good{.slot = 0, .position = 0, .tokens = {1, 2}, .blocks = {3}};
    const auto with = [&](auto change) {
      SlotWork work = good;
      change(work);
      return StepPlan{.step = 2, .work = {work}};
    };
    EXPECT_FALSE(refused(with([](SlotWork&) {})));
    EXPECT_TRUE(refused({.step = 3}));
    EXPECT_TRUE(refused({.step = 2, .releases = {1}}));
    EXPECT_TRUE(refused({.step = 2, .admissions = {{.slot = 0}}}));
    EXPECT_TRUE(refused(with([](SlotWork& w) { w.slot = 1; })));
    EXPECT_TRUE(refused(with([](SlotWork& w) { w.position = 1; })));
    EXPECT_TRUE(refused(with([](SlotWork& w) { w.blocks.clear(); })));
  });
}

}  // namespace
}  // namespace dinfer
