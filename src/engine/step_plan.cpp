#include "engine/step_plan.h"

#include <cmath>

#include "engine/bytes.h"

namespace dinfer {

namespace {

constexpr uint32_t kMagic = 0x4c504e44;  // "DNPL"
constexpr uint16_t kVersion = 6;
constexpr const char* kWhat = "step plan from the head";

// Fewest bytes that an item takes on the wire: bounds the counts of a hostile message.
constexpr size_t kAdmissionBytes = 4 + 8 + 8 + 8 + 8 + 4 + 7 * 4 + 4 + 4 + 8 + 8 + 4 + 1 + 4 + 1;
constexpr size_t kBiasBytes = 4 + 4;
constexpr size_t kWorkBytes = 4 + 8 + 4 + 4 + 1 + 1 + 4 + 4;

void put(ByteWriter& out, const Admission& a) {
  const SamplingParams& s = a.sampling;
  out.put(a.slot);
  out.put(a.sequence);
  out.put(a.prompt_tokens);
  out.put(a.length_limit);
  out.put(a.cached);
  out.put_list<int32_t>(a.cached_ids);
  out.put(s.temperature);
  out.put(s.top_k);
  out.put(s.top_p);
  out.put(s.min_p);
  out.put(s.repetition_penalty);
  out.put(s.presence_penalty);
  out.put(s.frequency_penalty);
  out.put(static_cast<uint32_t>(s.bias.size()));
  for (const TokenBias& bias : s.bias) {
    out.put(bias.id);
    out.put(bias.value);
  }
  out.put_list<int32_t>(s.banned);
  out.put(s.banned_before);
  out.put(s.seed);
  out.put(s.stream);
  out.put(static_cast<uint8_t>(a.report.logprobs));
  out.put(a.report.top);
  out.put(static_cast<uint8_t>(a.report.logits));
}

void put(ByteWriter& out, const SlotWork& w) {
  out.put(w.slot);
  out.put(w.position);
  out.put_list<int32_t>(w.tokens);
  out.put_list<int32_t>(w.blocks);
  out.put(static_cast<uint8_t>(w.rows));
  out.put(static_cast<uint8_t>(w.sample));
  out.put(w.next_token);
  out.put_list<uint64_t>(w.allowed);
}

// Reads the parts of a plan and holds each against the limits.
class Decoder {
 public:
  Decoder(std::span<const std::byte> message, const PlanLimits& limits)
      : in_(message, kWhat), limits_(limits), rows_(limits.replicas) {}

  StepPlan plan() {
    require(in_.get<uint32_t>() == kMagic, "not a step plan");
    require(in_.get<uint16_t>() == kVersion, "of another version");
    StepPlan plan;
    plan.step = in_.get<uint64_t>();
    if (flag()) plan.stop = in_.get<int32_t>();
    plan.report = flag();
    require(!plan.stop || !plan.report, "asks ranks that leave for a report");
    plan.releases = in_.get_list<uint32_t>();
    for (uint32_t released : plan.releases) require(is_slot(released), "releases no slot");
    const uint32_t admissions = in_.get_count(kAdmissionBytes);
    for (uint32_t i = 0; i < admissions; ++i) plan.admissions.push_back(admission());
    const uint32_t work = in_.get_count(kWorkBytes);
    for (uint32_t i = 0; i < work; ++i) {
      plan.work.push_back(slot_work());
      int64_t& rows = rows_[limits_.replica_of(plan.work.back().slot)];
      rows += plan.work.back().token_count();
      require(rows <= limits_.rows, "has more rows than --max-batch-tokens");
    }
    in_.expect_end();
    return plan;
  }

 private:
  void require(bool condition, const char* rule) const {
    if (!condition) fail(ExitCode::peer, "{}: {}", kWhat, rule);
  }

  void require_token(int32_t id) const {
    require(id >= 0 && id < limits_.vocab, "has a token outside the vocabulary");
  }

  void require_mask(const SlotWork& w) const {
    if (w.allowed.empty()) return;
    const auto words = (static_cast<size_t>(limits_.vocab) + 63) / 64;
    require(w.sample && w.allowed.size() <= words, "has a mask beyond the vocabulary");
    int64_t token = 0;
    while (token < limits_.vocab && !contains(w.allowed, token)) ++token;
    require(token < limits_.vocab, "allows no token");
  }

  bool is_slot(uint32_t value) const { return value < uint64_t{limits_.slots} * limits_.replicas; }

  bool flag() {
    const auto value = in_.get<uint8_t>();
    require(value <= 1, "has a flag that is not 0 or 1");
    return value == 1;
  }

  uint32_t slot() {
    const auto value = in_.get<uint32_t>();
    require(is_slot(value), "names a slot beyond --max-seqs");
    return value;
  }

  Admission admission() {
    Admission a;
    a.slot = slot();
    a.sequence = in_.get<uint64_t>();
    a.prompt_tokens = in_.get<int64_t>();
    a.length_limit = in_.get<int64_t>();
    a.cached = in_.get<int64_t>();
    require(a.prompt_tokens >= 0 && a.length_limit >= 0 && a.cached >= 0, "has a negative length");
    a.cached_ids = in_.get_list<int32_t>();
    for (int32_t token : a.cached_ids) require_token(token);
    require(a.cached_ids.empty() || std::ssize(a.cached_ids) == a.cached,
            "names other tokens than those in the cache");
    SamplingParams& s = a.sampling;
    s.temperature = in_.get<float>();
    s.top_k = in_.get<int32_t>();
    s.top_p = in_.get<float>();
    s.min_p = in_.get<float>();
    s.repetition_penalty = in_.get<float>();
    s.presence_penalty = in_.get<float>();
    s.frequency_penalty = in_.get<float>();
    s.bias.resize(in_.get_count(kBiasBytes));
    for (TokenBias& bias : s.bias) {
      bias.id = in_.get<int32_t>();
      require_token(bias.id);
      bias.value = in_.get<float>();
      require(std::isfinite(bias.value), "has a bias that is not finite");
    }
    s.banned = in_.get_list<int32_t>();
    for (int32_t token : s.banned) require_token(token);
    s.banned_before = in_.get<int64_t>();
    s.seed = in_.get<uint64_t>();
    s.stream = in_.get<uint32_t>();
    a.report.logprobs = flag();
    a.report.top = in_.get<int32_t>();
    require(a.report.top >= 0 && a.report.top <= limits_.vocab,
            "asks for tokens beyond the vocabulary");
    a.report.logits = flag();
    return a;
  }

  SlotWork slot_work() {
    SlotWork w;
    w.slot = slot();
    w.position = in_.get<int64_t>();
    require(w.position >= 0, "has a negative position");
    w.tokens = in_.get_list<int32_t>();
    require(!w.tokens.empty(), "has work without tokens");
    for (int32_t token : w.tokens) require_token(token);
    w.blocks = in_.get_list<int32_t>();
    for (int32_t block : w.blocks)
      require(block >= 0 && block < limits_.blocks, "names a KV block that is not there");
    const auto rows = in_.get<uint8_t>();
    require(rows <= static_cast<uint8_t>(LogitRows::all), "has an unknown kind of rows");
    w.rows = static_cast<LogitRows>(rows);
    w.sample = flag();
    require(!w.sample || w.rows != LogitRows::none, "samples without logits");
    w.next_token = in_.get<int32_t>();
    require(w.next_token >= -1 && w.next_token < limits_.vocab,
            "has a token outside the vocabulary");
    w.allowed = in_.get_list<uint64_t>();
    require_mask(w);
    return w;
  }

  ByteReader in_;
  const PlanLimits& limits_;
  std::vector<int64_t> rows_;  // by replica
};

}  // namespace

std::string describe(const StepPlan& plan) {
  if (plan.heartbeat()) return fmt::format("heartbeat {}", plan.step);
  return fmt::format("step {} of {} sequence{}", plan.step, plan.work.size(),
                     plan.work.size() == 1 ? "" : "s");
}

std::vector<std::byte> encode(const StepPlan& plan) {
  ByteWriter out;
  out.put(kMagic);
  out.put(kVersion);
  out.put(plan.step);
  out.put(static_cast<uint8_t>(plan.stop.has_value()));
  if (plan.stop) out.put(*plan.stop);
  out.put(static_cast<uint8_t>(plan.report));
  out.put_list<uint32_t>(plan.releases);
  out.put(static_cast<uint32_t>(plan.admissions.size()));
  for (const Admission& a : plan.admissions) put(out, a);
  out.put(static_cast<uint32_t>(plan.work.size()));
  for (const SlotWork& w : plan.work) put(out, w);
  return out.take();
}

StepPlan decode_step_plan(std::span<const std::byte> message, const PlanLimits& limits) {
  return Decoder(message, limits).plan();
}

}  // namespace dinfer
