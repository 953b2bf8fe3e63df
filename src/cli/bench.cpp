#include "cli/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

#include "base/build_info.h"
#include "base/error.h"
#include "base/json.h"
#include "cli/bench_shapes.h"
#include "cli/start.h"
#include "cli/start_output.h"

namespace dinfer {

namespace {

using Clock = std::chrono::steady_clock;

struct Row {
  std::string test;  // decode, prefill, throughput
  int64_t batch = 1;
  int64_t context = 0;  // tokens in the cache when the measurement begins
  int64_t tokens = 0;   // a sequence, in the measurement
  std::vector<double> tok_s;
  double bytes_per_token = 0;  // weights and KV read for one token of the batch

  double median() const {
    std::vector<double> sorted = tok_s;
    std::sort(sorted.begin(), sorted.end());
    const size_t middle = sorted.size() / 2;
    return sorted.size() % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  double gb_s() const { return median() * bytes_per_token / 1e9; }
};

class Bench {
 public:
  Bench(Head& head, const Options& options) : head_(head), options_(options) {}

  // One row's samples: a warm-up, then the repeats.
  template <class Measure>
  void sample(Row& row, const Measure& measure) {
    for (int i = 0; i <= options_.bench_repeat && !stopped(); ++i) {
      const double tok_s = measure();
      if (i > 0 && !stopped()) row.tok_s.push_back(tok_s);
    }
  }

  Row decode(int64_t batch, int64_t context) {
    Row row{.test = "decode", .batch = batch, .context = context, .tokens = options_.bench_tokens};
    const double kv = static_cast<double>(head_.kv_bytes_per_token) *
                      (static_cast<double>(context) + static_cast<double>(row.tokens) / 2);
    // Each step of a replica reads its weights.
    const SchedulerLimits& limits = head_.engine.limits();
    const auto steps =
        static_cast<double>(std::min<int64_t>(batch, limits.depth * limits.replicas));
    const double rows = static_cast<double>(batch) / steps;
    row.bytes_per_token = weight_bytes(rows) / rows + kv;
    sample(row, [&] { return decode_once(row); });
    return row;
  }

  Row prefill(int64_t batch, int64_t tokens) {
    Row row{.test = "prefill", .batch = batch, .tokens = tokens};
    const int64_t rows = head_.engine.limits().max_batch_tokens;
    const int64_t steps = (batch * tokens + rows - 1) / rows;
    const double rows_a_step = static_cast<double>(batch * tokens) / static_cast<double>(steps);
    row.bytes_per_token = weight_bytes(rows_a_step) / rows_a_step;
    sample(row, [&] { return requests_once(batch, tokens, 1, batch * tokens); });
    return row;
  }

  // Tokens of all answers over the time from the first request to the last token, once.
  Row throughput() {
    const int64_t in = options_.bench_in, out = options_.bench_out;
    Row row{.test = "requests", .batch = options_.bench_requests, .context = in, .tokens = out};
    row.tok_s.push_back(requests_once(row.batch, in, out, row.batch * out));
    return row;
  }

  bool stopped() const { return head_.signals.caught().has_value(); }

 private:
  // What a step with so many rows reads. Of experts those that its rows choose, where any choice is
  // as likely as any other.
  double weight_bytes(double rows) const {
    return head_.weight_bytes.read_by(rows, head_.config.experts);
  }

  std::vector<int32_t> random_prompt(int64_t tokens) {
    std::uniform_int_distribution<int32_t> any(0, static_cast<int32_t>(head_.config.vocab) - 1);
    std::vector<int32_t> ids(static_cast<size_t>(tokens));
    for (int32_t& id : ids) id = any(random_);
    return ids;
  }

  static double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }

  // All sequences are brought to the context first; then their tokens are counted. The prompts run
  // once without an answer, so that the prefix cache holds their blocks and one token of each is
  // left to compute: all sequences begin in one step. Otherwise the first would be far ahead, or at
  // their end, when the last is ready. With several stages a step is one of those under way and
  // decodes a part of the sequences.
  double decode_once(const Row& row) {
    const int64_t block = head_.engine.limits().block_size;
    std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(row.batch));
    for (std::vector<int32_t>& prompt : prompts) {
      prompt = random_prompt(row.context / block * block + 1);
      head_.engine.submit({.prompt = prompt, .max_tokens = 0});
    }
    finish_all();
    int64_t started = 0, tokens = 0;
    std::vector<uint64_t> ids;
    for (std::vector<int32_t>& prompt : prompts) {
      Request request{.prompt = std::move(prompt), .sampling = {.temperature = 0}};
      request.on_token = [&, first = true](const TokenEvent&) mutable {
        started += std::exchange(first, false);
        ++tokens;
        return true;
      };
      ids.push_back(head_.engine.submit(std::move(request)));
    }
    while (started < row.batch && !stopped()) step(row);
    const int64_t before = tokens;
    const auto begin = Clock::now();
    while (tokens - before < row.batch * row.tokens && !stopped()) step(row);
    const double rate = static_cast<double>(tokens - before) / seconds_since(begin);
    for (uint64_t id : ids) head_.engine.cancel(id);
    while (head_.engine.step()) {  // whatever was stopped: the requests end before what they count
    }
    return rate;
  }

  // One of a measurement that is not at its end.
  void step(const Row& row) {
    if (head_.engine.step()) return;
    fail(ExitCode::usage,
         "{} sequences came to their end, {} tokens after a context of {}, before all of them were "
         "there: give a larger --kv-blocks, so that all prompts stay in the cache",
         row.batch, row.tokens, row.context);
  }

  void finish_all() {
    while (!stopped() && head_.engine.step()) {
    }
  }

  // `counted` tokens over the time that the requests take.
  double requests_once(int64_t requests, int64_t in, int64_t out, int64_t counted) {
    for (int64_t i = 0; i < requests; ++i) {
      head_.engine.submit(
          {.prompt = random_prompt(in), .sampling = {.temperature = 0}, .max_tokens = out});
    }
    const auto begin = Clock::now();
    finish_all();
    return static_cast<double>(counted) / seconds_since(begin);
  }

  Head& head_;
  const Options& options_;
  std::mt19937 random_{1};
};

void print_table(HeadOutput& output, const std::vector<Row>& rows, double ceiling) {
  output.add(fmt::format("{:8} {:>6} {:>8} {:>7} {:>11} {:>11} {:>11} {:>8} {:>9}\n", "test",
                         "batch", "context", "tokens", "tok/s", "min", "max", "GB/s", "of reads"));
  for (const Row& row : rows) {
    const auto [least, most] = std::minmax_element(row.tok_s.begin(), row.tok_s.end());
    output.add(
        fmt::format("{:8} {:>6} {:>8} {:>7} {:>11.1f} {:>11.1f} {:>11.1f} {:>8.1f} {:>8.0f}%\n",
                    row.test, row.batch, row.context, row.tokens, row.median(), *least, *most,
                    row.gb_s(), 100 * row.gb_s() / ceiling));
  }
  output.write(fmt::format("read bandwidth of the ranks together: {:.1f} GB/s\n", ceiling));
}

void print_json(HeadOutput& output, const Head& head, const Options& options,
                const std::vector<Row>& rows, double ceiling) {
  OrderedJson list = OrderedJson::array();
  for (const Row& row : rows) {
    const auto [least, most] = std::minmax_element(row.tok_s.begin(), row.tok_s.end());
    list.push_back({{"test", row.test},
                    {"batch", row.batch},
                    {"context", row.context},
                    {"tokens", row.tokens},
                    {"tok_s_median", row.median()},
                    {"tok_s_min", *least},
                    {"tok_s_max", *most},
                    {"gb_s", row.gb_s()},
                    {"ceiling_gb_s", ceiling},
                    {"fraction", row.gb_s() / ceiling}});
  }
  OrderedJson reads = OrderedJson::array();
  for (size_t rank = 0; rank < head.measured.size(); ++rank)
    reads.push_back({{"bytes", std::llround(head.read_bytes[rank].read_by(1, head.config.experts))},
                     {"gb_s", head.measured[rank]}});
  const OrderedJson object{{"version", build_info().version},
                           {"device", head.device},
                           {"ranks", head.ranks},
                           {"layout", head.layout},
                           {"replicas", head.engine.limits().replicas},
                           {"model", options.shape.empty() ? options.model : options.shape},
                           {"quant", options.quant},
                           {"quant_group", options.quant_group},
                           {"reads", reads},
                           {"rows", list}};
  output.write(object.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

int run_bench(Head& head, const Options& options) {
  Bench bench(head, options);
  std::vector<Row> rows;
  for (int64_t batch : options.bench_prompts) {
    for (int64_t tokens : options.bench_prefill) rows.push_back(bench.prefill(batch, tokens));
  }
  for (int64_t batch : options.bench_batch) {
    for (int64_t context : options.bench_context) rows.push_back(bench.decode(batch, context));
  }
  if (options.bench_requests > 0) rows.push_back(bench.throughput());
  if (bench.stopped()) return static_cast<int>(*head.signals.caught());
  const double ceiling = std::accumulate(head.measured.begin(), head.measured.end(), 0.0);
  HeadOutput output(head.engine, head.signals);
  if (options.json)
    print_json(output, head, options, rows, ceiling);
  else
    print_table(output, rows, ceiling);
  return 0;
}

int64_t largest_of(const std::vector<int64_t>& values) {
  return *std::max_element(values.begin(), values.end());
}

// The sweep's lists where none were given, and a KV cache that holds the largest of them.
Options complete(Options options) {
  const auto otherwise = [](std::vector<int64_t>& list, int64_t value) {
    if (list.empty()) list = {value};
  };
  otherwise(options.bench_batch, 1);
  otherwise(options.bench_context, 0);
  otherwise(options.bench_prefill, 512);
  otherwise(options.bench_prompts, 1);
  const int64_t size = options.kv_block_size;
  const auto blocks = [size](int64_t tokens) { return (tokens + size - 1) / size; };
  const int64_t replicas = std::max(options.dp, 1);
  const auto of_a_replica = [replicas](int64_t seqs) { return (seqs + replicas - 1) / replicas; };
  const int64_t batch = of_a_replica(largest_of(options.bench_batch));
  const int64_t prompts = of_a_replica(largest_of(options.bench_prompts));
  // More tokens than the measurement: one that follows the prompt's blocks, the first one of the
  // answer, and one for sequences that begin a step earlier.
  const int64_t decoded = largest_of(options.bench_context) + options.bench_tokens + 3;
  const int64_t prompt = largest_of(options.bench_prefill) + 1;
  const int64_t request = options.bench_requests > 0 ? options.bench_in + options.bench_out + 1 : 0;
  const int64_t together =
      std::min<int64_t>(of_a_replica(options.bench_requests), options.max_seqs);
  options.max_seqs = static_cast<int>(std::max({batch, prompts, together}));
  if (options.max_seq_len == 0) options.max_seq_len = std::max({decoded, prompt, request});
  if (options.kv_blocks == 0) {
    options.kv_blocks = std::max({batch * blocks(decoded), prompts * blocks(prompt),
                                  together * blocks(request), blocks(options.max_seq_len)});
  }
  return options;
}

}  // namespace

int bench_command(const Options& given) {
  if (given.model.empty() == given.shape.empty()) {
    fail(ExitCode::usage, "bench needs a model: either --model, or --shape for random weights");
  }
  const Options options = complete(given);
  StartRequest request{
      .command = "bench", .max_seqs = options.max_seqs, .prefix_cache = true, .reads_texts = false};
  if (!options.shape.empty()) request.shape = published_shape(options.shape);
  request.measures_reads = true;
  return run_on_ranks(options, request, [&](Head& head) { return run_bench(head, options); });
}

}  // namespace dinfer
