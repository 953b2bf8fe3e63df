#include "engine/step_result.h"

#include "engine/bytes.h"

namespace dinfer {
namespace {

// Fewest bytes that an item takes: bounds the counts of a broken message.
constexpr size_t kWorkBytes = 4 + 4;
constexpr size_t kRowBytes = 4 + 4 + 4 + 4;
constexpr size_t kTopBytes = 4 + 4;

void put(ByteWriter& out, const RowResult& row) {
  out.put(row.token);
  out.put(row.logprob);
  out.put(static_cast<uint32_t>(row.top.size()));
  for (const TokenLogprob& each : row.top) {
    out.put(each.id);
    out.put(each.logprob);
  }
  out.put_list<float>(row.logits);
}

RowResult get_row(ByteReader& in) {
  RowResult row;
  row.token = in.get<int32_t>();
  row.logprob = in.get<float>();
  row.top.resize(in.get_count(kTopBytes));
  for (TokenLogprob& each : row.top) {
    each.id = in.get<int32_t>();
    each.logprob = in.get<float>();
  }
  row.logits = in.get_list<float>();
  return row;
}

}  // namespace

std::vector<std::byte> encode(const StepResult& result) {
  ByteWriter out;
  out.put(result.digest);
  out.put(static_cast<uint32_t>(result.work.size()));
  for (const WorkResult& work : result.work) {
    out.put(work.token);
    out.put(static_cast<uint32_t>(work.rows.size()));
    for (const RowResult& row : work.rows) put(out, row);
  }
  return out.take();
}

StepResult decode_step_result(std::span<const std::byte> message) {
  ByteReader in(message, "result of a step");
  StepResult result{.digest = in.get<uint64_t>()};
  result.work.resize(in.get_count(kWorkBytes));
  for (WorkResult& work : result.work) {
    work.token = in.get<int32_t>();
    const uint32_t rows = in.get_count(kRowBytes);
    for (uint32_t i = 0; i < rows; ++i) work.rows.push_back(get_row(in));
  }
  in.expect_end();
  return result;
}

}  // namespace dinfer
