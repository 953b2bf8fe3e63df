// A load on a running server of OpenAI's API (`dinfer serve` or another): so many clients in a
// closed loop, or arrivals at a rate whether or not answers keep up. Every prompt is another one,
// and the same in every run. Prints one JSON object of rates and latencies.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <sys/resource.h>

#include <fmt/format.h>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/program_options.hpp>

namespace {

namespace asio = boost::asio;
namespace options = boost::program_options;
using Clock = std::chrono::steady_clock;
using tcp = asio::ip::tcp;

struct Load {
  std::string host = "127.0.0.1";
  uint16_t port = 0;
  int clients = 1;
  int requests = 1;
  int tokens = 16;         // of an answer
  int prompt_tokens = 16;  // of a prompt
  int vocab = 256;         // ids of prompts are below this
  bool chat_lengths = false;
  double rate = 0;  // arrivals a second; 0: closed loop
  bool stream = true;
};

double ms_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

// One request's lengths, in tokens, and what makes its prompt.
struct Ask {
  int prompt_tokens = 0, tokens = 0;
  uint32_t seed = 0;
};

// Request number `i`. Chats: log-normal lengths with the means that vLLM's benchmark reports of
// ShareGPT's conversations (217 in, 202 out) and its bounds.
Ask ask_number(const Load& load, int i) {
  const auto seed = static_cast<uint32_t>(i) + 1;
  if (!load.chat_lengths) return {load.prompt_tokens, load.tokens, seed};
  std::mt19937 random(seed);
  const auto draw = [&](double mean, double sigma) {
    std::lognormal_distribution<double> length(std::log(mean) - sigma * sigma / 2, sigma);
    return std::clamp(static_cast<int>(length(random)), 4, 1024);
  };
  const int prompt_tokens = draw(217, 1.2);
  return {prompt_tokens, draw(202, 1.0), seed};
}

// What became of the requests.
struct Tally {
  std::map<int, int> statuses;  // 0: no answer, or one that broke off
  int64_t prompt_tokens = 0, tokens = 0;
  std::vector<double> first_ms, gap_ms, whole_ms;
  std::vector<int> retry_after_s;
};

class Client {
 public:
  Client(const Load& load, Tally& tally, asio::any_io_executor executor)
      : load_(load), tally_(tally), socket_(executor) {}

  asio::awaitable<void> one_request(const Ask& ask) {
    const auto begin = Clock::now();
    const bool kept = socket_.is_open();
    int status = co_await try_request(begin, ask);
    // Servers may end a connection that was kept, as llama-server does: a new one is made then.
    if (status == 0 && kept && !socket_.is_open()) status = co_await try_request(begin, ask);
    ++tally_.statuses[status];
  }

 private:
  // The answer's status; 0 where there was none, or one that broke off.
  asio::awaitable<int> try_request(Clock::time_point begin, const Ask& ask) {
    try {
      if (!socket_.is_open()) co_await connect();
      const std::string request = request_text(ask);
      co_await asio::async_write(socket_, asio::buffer(request), asio::use_awaitable);
      co_return co_await read_answer(begin, ask);
    } catch (const boost::system::system_error&) {
      socket_.close();
    }
    co_return 0;
  }

  asio::awaitable<void> connect() {
    co_await socket_.async_connect({asio::ip::make_address(load_.host), load_.port},
                                   asio::use_awaitable);
    socket_.set_option(tcp::no_delay(true));
  }

  std::string request_text(const Ask& ask) const {
    std::mt19937 random(ask.seed);
    std::uniform_int_distribution<int> id(3, load_.vocab - 1);
    std::string prompt;
    for (int i = 0; i < ask.prompt_tokens; ++i)
      prompt += fmt::format("{}{}", i ? "," : "", id(random));
    const std::string body = fmt::format(
        R"({{"prompt":[{}],"max_tokens":{},"temperature":0,"ignore_eos":true,"stream":{}}})",
        prompt, ask.tokens, load_.stream);
    return fmt::format(
        "POST /v1/completions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\n\r\n{}",
        load_.host, body.size(), body);
  }

  asio::awaitable<int> read_answer(Clock::time_point begin, const Ask& ask) {
    std::string text;
    const size_t head = co_await asio::async_read_until(socket_, asio::dynamic_buffer(text),
                                                        "\r\n\r\n", asio::use_awaitable);
    const int status = std::stoi(text.substr(text.find(' ') + 1, 3));
    const bool streamed = text.find("event-stream") < head;
    if (const auto retry = number_after(text, "Retry-After: "))
      tally_.retry_after_s.push_back(static_cast<int>(*retry));
    const auto length = number_after(text, "Content-Length: ");
    text.erase(0, head);
    if (streamed)
      co_await read_events(text, begin);
    else
      co_await read_bytes(text, length.value_or(0));
    const double whole = ms_between(begin, Clock::now());
    if (failed_) co_return 0;
    if (status == 200) {
      tally_.whole_ms.push_back(whole);
      tally_.prompt_tokens += ask.prompt_tokens;
      tally_.tokens += ask.tokens;
    }
    co_return status;
  }

  static std::optional<size_t> number_after(const std::string& text, std::string_view name) {
    const size_t at = text.find(name);
    if (at == std::string::npos) return std::nullopt;
    return std::stoull(text.substr(at + name.size(), 12));
  }

  asio::awaitable<void> read_bytes(std::string& text, size_t length) {
    while (text.size() < length) co_await read_more(text);
  }

  asio::awaitable<void> read_events(std::string& text, Clock::time_point begin) {
    std::optional<Clock::time_point> last;
    failed_ = false;
    for (;;) {
      const bool ends = text.ends_with("0\r\n\r\n");
      failed_ = failed_ || text.find("data: {\"error\"") != std::string::npos;
      if (text.find("data: {") != std::string::npos) {
        const auto now = Clock::now();
        if (last)
          tally_.gap_ms.push_back(ms_between(*last, now));
        else
          tally_.first_ms.push_back(ms_between(begin, now));
        last = now;
      }
      if (ends) co_return;
      text.erase(0, text.size() - std::min<size_t>(text.size(), 4));
      co_await read_more(text);
    }
  }

  asio::awaitable<void> read_more(std::string& text) {
    const size_t old = text.size();
    text.resize(old + 16384);
    const size_t got = co_await socket_.async_read_some(asio::buffer(text.data() + old, 16384),
                                                        asio::use_awaitable);
    text.resize(old + got);
  }

  const Load& load_;
  Tally& tally_;
  tcp::socket socket_;
  bool failed_ = false;  // the stream told of an error
};

asio::awaitable<void> closed_loop(const Load& load, Tally& tally, int& left) {
  Client client(load, tally, co_await asio::this_coro::executor);
  while (left-- > 0) co_await client.one_request(ask_number(load, left));
}

asio::awaitable<void> one_arrival(const Load& load, Tally& tally, int number) {
  Client client(load, tally, co_await asio::this_coro::executor);
  co_await client.one_request(ask_number(load, number));
}

// Arrivals of a Poisson process.
asio::awaitable<void> open_loop(const Load& load, Tally& tally) {
  const auto executor = co_await asio::this_coro::executor;
  std::mt19937_64 random(1);
  std::exponential_distribution<double> pause(load.rate);
  asio::steady_timer timer(executor);
  auto due = Clock::now();
  for (int i = 0; i < load.requests; ++i) {
    due +=
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(pause(random)));
    timer.expires_at(due);
    co_await timer.async_wait(asio::use_awaitable);
    asio::co_spawn(executor, one_arrival(load, tally, i), asio::detached);
  }
}

std::string quantiles(std::vector<double> values) {
  if (values.empty()) return "null";
  std::ranges::sort(values);
  const auto at = [&](double q) {
    return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
  };
  return fmt::format(
      R"({{"mean":{:.3f},"p50":{:.3f},"p99":{:.3f},"max":{:.3f}}})",
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()),
      at(0.5), at(0.99), values.back());
}

void print(const Tally& tally, double seconds) {
  std::string statuses;
  for (const auto& [status, count] : tally.statuses)
    statuses += fmt::format(R"({}"{}":{})", statuses.empty() ? "" : ",", status, count);
  const auto& retry = tally.retry_after_s;
  fmt::print(
      R"({{"seconds":{:.3f},"statuses":{{{}}},"prompt_tokens":{},"tokens":{},"tok_s":{:.1f},"first_ms":{},"gap_ms":{},"whole_ms":{},)"
      R"("retry_after_s":{}}})"
      "\n",
      seconds, statuses, tally.prompt_tokens, tally.tokens,
      static_cast<double>(tally.tokens) / seconds, quantiles(tally.first_ms),
      quantiles(tally.gap_ms), quantiles(tally.whole_ms),
      quantiles(std::vector<double>(retry.begin(), retry.end())));
}

}  // namespace

int main(int argc, char** argv) {
  Load load;
  options::options_description known("options");
  known.add_options()("host", options::value(&load.host))(
      "port", options::value(&load.port)->required())("vocab", options::value(&load.vocab))(
      "chat-lengths", options::value(&load.chat_lengths))("clients", options::value(&load.clients))(
      "requests", options::value(&load.requests))("tokens", options::value(&load.tokens))(
      "prompt-tokens", options::value(&load.prompt_tokens))("rate", options::value(&load.rate))(
      "stream", options::value(&load.stream));
  options::variables_map given;
  try {
    options::store(options::parse_command_line(argc, argv, known), given);
    options::notify(given);
  } catch (const options::error& error) {
    fmt::print(stderr, "server_load: {}\n", error.what());
    return 2;
  }
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  asio::io_context context(1);
  Tally tally;
  int left = load.requests;
  const auto begin = Clock::now();
  if (load.rate > 0) {
    asio::co_spawn(context, open_loop(load, tally), asio::detached);
  } else {
    for (int i = 0; i < load.clients; ++i)
      asio::co_spawn(context, closed_loop(load, tally, left), asio::detached);
  }
  context.run();
  print(tally, ms_between(begin, Clock::now()) / 1000);
}
