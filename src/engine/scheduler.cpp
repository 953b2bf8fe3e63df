#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

namespace dinfer {
namespace {

// What a running sequence weighs against tokens of prompts, when a replica is chosen: the answer it
// has before it, at a guess.
constexpr int64_t kAnswerTokens = 128;

bool has_work(const StepPlan& plan, uint32_t slot) {
  return std::ranges::find(plan.work, slot, &SlotWork::slot) != plan.work.end();
}

}  // namespace

struct Scheduler::Sequence {
  uint64_t id = 0;
  SequenceSpec spec;
  std::vector<int32_t> tokens;  // prompt and output
  int64_t planned = 0;          // tokens that a step has computed or is about to
  int64_t computed = 0;         // of those, the ones that are in the cache
  int64_t scored = 0;           // prompt rows whose logits were already reported
  size_t replica = 0;
  uint32_t slot = 0;
  bool sampled_last = false;  // the last token is one that was sampled
  bool complete = false;      // by its constraint: nothing may follow
  std::vector<int32_t> blocks;
  KvBlocks::Text text;   // of the blocks that are published
  size_t published = 0;  // blocks

  int64_t length() const { return static_cast<int64_t>(tokens.size()); }
  int64_t prompt_tokens() const { return static_cast<int64_t>(spec.prompt.size()); }
  int64_t length_limit(int64_t longest) const {
    const int64_t room = longest - prompt_tokens();
    return prompt_tokens() + (spec.max_tokens < 0 ? room : std::min(room, spec.max_tokens));
  }
  // The tokens in the cache, where ranks need to know them.
  std::vector<int32_t> penalized_prefix() const {
    if (!spec.sampling.penalizes()) return {};
    return {tokens.begin(), tokens.begin() + computed};
  }
  bool generates() const { return spec.max_tokens != 0; }
  bool decoding() const { return sampled_last && planned + 1 == length(); }
  bool under_way() const { return planned > computed; }
  int64_t left() const { return length() - planned; }  // tokens that no step takes yet
};

Scheduler::Scheduler(const SchedulerLimits& limits)
    : limits_(limits), by_slot_(static_cast<size_t>(limits.replicas * limits.max_seqs)) {
  check(limits.max_logit_rows >= limits.max_seqs, "every slot must be able to sample in one step");
  check(limits.max_seq_len <= int64_t{limits.blocks} * limits.block_size,
        "one sequence of full length must fit into the KV blocks");
  const auto slots = std::min<int64_t>(limits.max_seqs, limits.max_batch_tokens);
  for (int64_t replica = 0; replica < limits.replicas; ++replica) {
    const int64_t first = replica * limits.max_seqs;
    Replica& own = replicas_.emplace_back(Replica{.blocks = KvBlocks(limits.blocks)});
    for (int64_t slot = first + slots; slot-- > first;)
      own.free_slots.push_back(static_cast<uint32_t>(slot));
  }
}

Scheduler::~Scheduler() = default;

uint64_t Scheduler::add(SequenceSpec spec) {
  const auto prompt = static_cast<int64_t>(spec.prompt.size());
  if (prompt == 0) fail(ExitCode::usage, "the prompt is empty: at least one token is needed");
  const int64_t room = spec.max_tokens == 0 ? 0 : 1;
  if (prompt + room > limits_.max_seq_len) {
    fail(ExitCode::usage,
         "the prompt has {} tokens, the context holds {}{}: shorten the prompt, or raise "
         "--max-seq-len or --kv-blocks where the model and the memory allow it",
         prompt, limits_.max_seq_len, room ? " and one is needed for the answer" : "");
  }
  auto sequence = std::make_unique<Sequence>();
  sequence->id = ++next_id_;
  sequence->tokens = spec.prompt;
  sequence->spec = std::move(spec);
  waiting_.push_back(std::move(sequence));
  return next_id_;
}

bool Scheduler::remove(uint64_t id) {
  const auto is_it = [id](const auto& sequence) { return sequence->id == id; };
  if (auto it = std::find_if(waiting_.begin(), waiting_.end(), is_it); it != waiting_.end()) {
    waiting_.erase(it);
    return true;
  }
  if (auto it = std::find_if(running_.begin(), running_.end(), is_it); it != running_.end()) {
    release(**it);
    running_.erase(it);
    return true;
  }
  return false;
}

int32_t Scheduler::free_blocks() const {
  int32_t blocks = 0;
  for (size_t replica = 0; replica < replicas_.size(); ++replica) blocks += free_blocks(replica);
  return blocks;
}

size_t Scheduler::running(size_t replica) const {
  return static_cast<size_t>(std::ranges::count_if(
      running_, [&](const auto& sequence) { return sequence->replica == replica; }));
}

std::optional<StepPlan> Scheduler::next() {
  check(std::ssize(under_way_) < limits_.depth, "commit() comes before more steps");
  StepPlan plan;
  Budgets budgets(replicas_.size(), {limits_.max_batch_tokens, limits_.max_logit_rows});
  const uint64_t preemptions_before = preemptions_;
  schedule_decodes(plan, budgets);
  const bool admits = preemptions_ == preemptions_before;
  if (admits) let_pass(plan, budgets);
  for (const auto& sequence : running_) {
    if (sequence->left() > 0 && !sequence->decoding() && !has_work(plan, sequence->slot))
      schedule_chunk(*sequence, {}, plan, budgets[sequence->replica]);
  }
  while (admits && !waiting_.empty() && admit(0, plan, budgets)) {
  }
  if (plan.work.empty() && !under_way_.empty()) return std::nullopt;
  plan.step = ++step_;
  plan.releases = std::exchange(releases_, {});
  if (!plan.work.empty()) under_way_.push_back(sequences_of(plan));
  return plan;
}

// By work item.
std::vector<uint64_t> Scheduler::sequences_of(const StepPlan& plan) const {
  std::vector<uint64_t> sequences;
  for (const SlotWork& work : plan.work) sequences.push_back(by_slot_[work.slot]->id);
  return sequences;
}

StepPlan Scheduler::next_idle() {
  return {.step = ++step_, .releases = std::exchange(releases_, {})};
}

std::vector<Outcome> Scheduler::commit(const StepPlan& plan, std::span<const int32_t> sampled) {
  check(sampled.size() == plan.work.size(), "one token or -1 for each work item");
  std::vector<Outcome> outcomes;
  if (plan.work.empty()) return outcomes;
  check(!under_way_.empty(), "commit() of a step that next() gave");
  const std::vector<uint64_t> ids = std::move(under_way_.front());
  under_way_.pop_front();
  check(ids.size() == plan.work.size(), "commit() takes the steps in their order");
  for (size_t i = 0; i < plan.work.size(); ++i) {
    const SlotWork& work = plan.work[i];
    if (!by_slot_[work.slot] || by_slot_[work.slot]->id != ids[i]) continue;  // removed
    Sequence& sequence = *by_slot_[work.slot];
    sequence.computed = work.position + work.token_count();
    publish(sequence);
    if (work.rows == LogitRows::all) sequence.scored = sequence.computed;
    Outcome outcome{.sequence = sequence.id, .work = i};
    if (work.sample) {
      outcome.token = sampled[i];
      sequence.tokens.push_back(sampled[i]);
      sequence.sampled_last = true;
      if (sequence.spec.constraint) sequence.complete = !sequence.spec.constraint->take(sampled[i]);
    }
    outcome.finish = finished(sequence);
    outcomes.push_back(outcome);
  }
  for (const Outcome& outcome : outcomes) {
    if (outcome.finish) remove(outcome.sequence);
  }
  return outcomes;
}

int64_t Scheduler::blocks_for(int64_t tokens) const {
  return (tokens + limits_.block_size - 1) / limits_.block_size;
}

KvBlocks& Scheduler::blocks_of(const Sequence& sequence) {
  return replicas_[sequence.replica].blocks;
}

// Blocks for a sequence that is to be admitted to its replica: those that hold its beginning, and
// new ones. False where too few are free.
bool Scheduler::begin(Sequence& sequence, std::vector<int32_t>& blocks) {
  sequence.text = {.salt = sequence.spec.salt};
  if (limits_.prefix_cache && !sequence.spec.score) {
    // The last token is computed in any case: the next one is sampled from its logits.
    const std::span<const int32_t> known(sequence.tokens);
    sequence.blocks =
        blocks_of(sequence).share(sequence.text, known.first(known.size() - 1), limits_.block_size);
  }
  sequence.published = sequence.blocks.size();
  sequence.computed = static_cast<int64_t>(sequence.published) * limits_.block_size;
  sequence.planned = sequence.computed;
  if (!grow(sequence, blocks)) {
    blocks_of(sequence).give_back(std::exchange(sequence.blocks, {}));
    sequence.computed = sequence.planned = 0;
    return false;
  }
  blocks = sequence.blocks;
  admitted_tokens_ += static_cast<uint64_t>(sequence.length());
  cached_tokens_ += static_cast<uint64_t>(sequence.computed);
  return true;
}

// Lets others share the blocks that are full of computed tokens.
void Scheduler::publish(Sequence& sequence) {
  if (!limits_.prefix_cache || sequence.spec.score) return;
  const auto size = static_cast<size_t>(limits_.block_size);
  while ((sequence.published + 1) * size <= static_cast<size_t>(sequence.computed)) {
    blocks_of(sequence).publish(
        sequence.blocks[sequence.published], sequence.text,
        std::span(sequence.tokens).subspan(sequence.published * size, size));
    ++sequence.published;
  }
}

// Gives the sequence the blocks of its known tokens; false where they are not free.
bool Scheduler::grow(Sequence& sequence, std::vector<int32_t>& appended) {
  const int64_t tokens =
      limits_.fixed_chunk > 0 ? sequence.length_limit(limits_.max_seq_len) : sequence.length();
  const int64_t missing = blocks_for(tokens) - static_cast<int64_t>(sequence.blocks.size());
  if (missing <= 0) return true;
  auto taken = blocks_of(sequence).take(missing);
  if (!taken) return false;
  appended = *std::move(taken);
  sequence.blocks.insert(sequence.blocks.end(), appended.begin(), appended.end());
  return true;
}

void Scheduler::release(Sequence& sequence) {
  blocks_of(sequence).give_back(std::exchange(sequence.blocks, {}));
  releases_.push_back(sequence.slot);
  by_slot_[sequence.slot] = nullptr;
  std::vector<uint32_t>& slots = replicas_[sequence.replica].free_slots;
  slots.insert(std::ranges::lower_bound(slots, sequence.slot, std::greater<>()), sequence.slot);
}

void Scheduler::preempt(size_t running_index) {
  auto sequence = std::move(running_[running_index]);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(running_index));
  release(*sequence);
  sequence->computed = sequence->planned = 0;
  sequence->sampled_last = false;
  waiting_.push_front(std::move(sequence));
  ++preemptions_;
}

// Makes room by the youngest sequence of the replica, which has no work in the plan yet. False
// where that is the one at `index` itself, or one that a step under way computes.
bool Scheduler::give_way(size_t index) {
  size_t youngest = running_.size() - 1;
  while (running_[youngest]->replica != running_[index]->replica) --youngest;
  if (running_[youngest]->under_way()) return false;
  preempt(youngest);
  return youngest != index;
}

// Blocks for the sequence's next token, whoever has to give way.
bool Scheduler::make_room(size_t index, std::vector<int32_t>& appended) {
  while (!grow(*running_[index], appended))
    if (!give_way(index)) return false;
  return true;
}

void Scheduler::schedule_decodes(StepPlan& plan, Budgets& budgets) {
  std::vector<size_t> room;  // sequences, by replica
  for (size_t replica = 0; replica < replicas_.size(); ++replica)
    room.push_back(limits_.alone ? 1 : (running(replica) + limits_.depth - 1) / limits_.depth);
  for (size_t i = 0; i < running_.size();) {
    const size_t replica = running_[i]->replica;
    if (!running_[i]->decoding() || room[replica] == 0) {
      ++i;
      continue;
    }
    std::vector<int32_t> appended;
    if (!make_room(i, appended)) {
      room[replica] = 0;
      continue;  // with whoever is at this place now
    }
    Sequence& sequence = *running_[i++];
    SlotWork work{.slot = sequence.slot, .position = sequence.planned};
    work.tokens = {sequence.tokens.back()};
    work.blocks = std::move(appended);
    work.rows = LogitRows::last;
    work.sample = true;
    if (sequence.spec.constraint) work.allowed = sequence.spec.constraint->allowed();
    plan.work.push_back(std::move(work));
    ++sequence.planned;
    --room[replica];
    --budgets[replica].rows;
    --budgets[replica].logit_rows;
  }
}

// Tokens of a prompt's next part, where parts have a fixed length.
int64_t Scheduler::fixed_part(const Sequence& sequence) const {
  const int64_t longest = sequence.spec.score
                              ? std::min(limits_.fixed_chunk, limits_.max_logit_rows)
                              : limits_.fixed_chunk;
  return std::min(longest, sequence.length() - sequence.planned);
}

// Whether the step takes the prompt's next part, or some of it.
bool Scheduler::fits(const Sequence& sequence, const Budget& budget) const {
  if (limits_.alone && budget.rows < limits_.max_batch_tokens) return false;
  const int64_t rows = limits_.fixed_chunk > 0 ? fixed_part(sequence) : 1;
  return budget.rows >= rows && budget.logit_rows >= (sequence.spec.score ? rows : 1);
}

// The next tokens of a prompt (or of a preempted sequence), as many as the step still takes.
void Scheduler::schedule_chunk(Sequence& sequence, std::vector<int32_t> blocks, StepPlan& plan,
                               Budget& budget) {
  if (limits_.fixed_chunk > 0 && !fits(sequence, budget)) return;
  const int64_t begin = sequence.planned;
  int64_t count = limits_.fixed_chunk > 0 ? fixed_part(sequence)
                                          : std::min(sequence.length() - begin, budget.rows);
  const bool reports =
      sequence.spec.score && begin >= sequence.scored && begin < sequence.prompt_tokens();
  if (sequence.spec.score && begin < sequence.scored)
    count = std::min(count, sequence.scored - begin);
  if (reports) count = std::min(count, budget.logit_rows);
  const bool last = begin + count == sequence.length();
  const bool samples = last && sequence.generates();
  if (samples && !reports && budget.logit_rows == 0) --count;
  if (count <= 0) {
    check(blocks.empty(), "blocks were given to a chunk without rows");
    return;
  }

  SlotWork work{.slot = sequence.slot, .position = begin};
  work.tokens.assign(sequence.tokens.begin() + begin, sequence.tokens.begin() + begin + count);
  work.blocks = std::move(blocks);
  work.sample = begin + count == sequence.length() && sequence.generates();
  if (work.sample && sequence.spec.constraint) work.allowed = sequence.spec.constraint->allowed();
  work.rows = reports ? LogitRows::all : work.sample ? LogitRows::last : LogitRows::none;
  if (reports && begin + count < sequence.length()) {
    work.next_token = sequence.tokens[static_cast<size_t>(begin + count)];
  }
  sequence.planned += count;
  budget.rows -= count;
  budget.logit_rows -= reports ? count : work.sample ? 1 : 0;
  plan.work.push_back(std::move(work));
}

// By replica: tokens of prompts that wait there, and what running sequences stand for.
std::vector<int64_t> Scheduler::loads() const {
  std::vector<int64_t> loads(replicas_.size());
  for (const auto& sequence : running_)
    loads[sequence->replica] += kAnswerTokens + sequence->length() - sequence->planned;
  return loads;
}

int64_t Scheduler::cached_in(const Replica& replica, const Sequence& sequence) const {
  if (!limits_.prefix_cache || sequence.spec.score) return 0;
  return limits_.block_size *
         replica.blocks.known({.salt = sequence.spec.salt}, sequence.tokens, limits_.block_size);
}

// Replicas with a slot for the sequence and rows for its first chunk, the cheapest first. One
// logits row is kept free, so that the first chunk of any sequence has at least one row.
std::vector<size_t> Scheduler::offers(const Sequence& sequence, const Budgets& budgets) const {
  std::vector<int64_t> costs = loads();
  std::vector<size_t> offers;
  for (size_t replica = 0; replica < replicas_.size(); ++replica) {
    const Budget& budget = budgets[replica];
    if (replicas_[replica].free_slots.empty() || !fits(sequence, budget)) continue;
    offers.push_back(replica);
    if (replicas_.size() > 1) costs[replica] -= cached_in(replicas_[replica], sequence);
  }
  std::ranges::stable_sort(offers, {}, [&](size_t replica) { return costs[replica]; });
  return offers;
}

// The waiting sequence at this place, with its first chunk, where a replica has room for it.
bool Scheduler::admit(size_t place, StepPlan& plan, Budgets& budgets) {
  Sequence& sequence = *waiting_[place];
  std::vector<int32_t> appended;
  const bool admitted = std::ranges::any_of(offers(sequence, budgets), [&](size_t replica) {
    sequence.replica = replica;
    return begin(sequence, appended);
  });
  if (!admitted) return false;
  std::vector<uint32_t>& slots = replicas_[sequence.replica].free_slots;
  sequence.slot = slots.back();
  slots.pop_back();
  plan.admissions.push_back({.slot = sequence.slot,
                             .sequence = sequence.id,
                             .prompt_tokens = sequence.prompt_tokens(),
                             .length_limit = sequence.length_limit(limits_.max_seq_len),
                             .cached = sequence.computed,
                             .cached_ids = sequence.penalized_prefix(),
                             .sampling = sequence.spec.sampling,
                             .report = sequence.spec.report});
  by_slot_[sequence.slot] = &sequence;
  running_.push_back(std::move(waiting_[place]));
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(place));
  schedule_chunk(sequence, std::move(appended), plan, budgets[sequence.replica]);
  return true;
}

// Whether what the sequence takes leaves the first one in the queue what that needs.
bool Scheduler::may_pass(const Sequence& sequence, size_t replica) const {
  const Sequence& first = *waiting_.front();
  if (&sequence == &first) return true;
  return replicas_[replica].free_slots.size() >= 2 &&
         free_blocks(replica) >= blocks_for(sequence.length()) + blocks_for(first.length());
}

// Admits the shortest waiting sequence to the replica, the only one with a budget.
bool Scheduler::pass_shortest(size_t replica, int64_t shorter_than, StepPlan& plan,
                              Budgets& budgets) {
  const auto shortest = std::ranges::min_element(
      waiting_, {}, [](const auto& sequence) { return sequence->length(); });
  if (shortest == waiting_.end() || (*shortest)->length() >= shorter_than ||
      !may_pass(**shortest, replica))
    return false;
  return admit(static_cast<size_t>(shortest - waiting_.begin()), plan, budgets);
}

void Scheduler::let_pass(StepPlan& plan, Budgets& budgets) {
  if (limits_.fixed_chunk > 0) return;  // what a step takes of a prompt does not depend on others
  for (size_t replica = 0; replica < replicas_.size(); ++replica) {
    std::vector<Sequence*> prompts;
    for (const auto& sequence : running_)
      if (sequence->replica == replica && !sequence->decoding() && sequence->left() > 0)
        prompts.push_back(sequence.get());
    Budget& whole = budgets[replica];
    if (prompts.empty() || prompts.front()->left() <= whole.rows) continue;
    const int64_t longest = prompts.front()->left();
    std::erase_if(prompts, [&](const Sequence* each) { return each->left() >= longest; });
    std::ranges::stable_sort(prompts, {}, &Sequence::left);
    Budgets part(replicas_.size(), Budget{});
    const Budget half{whole.rows / 2, whole.logit_rows / 2};
    part[replica] = half;
    for (Sequence* sequence : prompts) schedule_chunk(*sequence, {}, plan, part[replica]);
    while (pass_shortest(replica, longest, plan, part)) {
    }
    whole.rows -= half.rows - part[replica].rows;
    whole.logit_rows -= half.logit_rows - part[replica].logit_rows;
  }
}

std::optional<FinishReason> Scheduler::finished(const Sequence& sequence) const {
  if (sequence.computed < sequence.prompt_tokens()) return std::nullopt;
  if (!sequence.generates()) return FinishReason::stop;
  if (!sequence.sampled_last) return std::nullopt;
  const auto& eos = sequence.spec.eos;
  if (std::find(eos.begin(), eos.end(), sequence.tokens.back()) != eos.end())
    return FinishReason::stop;
  if (sequence.complete) return FinishReason::stop;
  if (sequence.length() >= sequence.length_limit(limits_.max_seq_len)) return FinishReason::length;
  return std::nullopt;
}

}  // namespace dinfer
