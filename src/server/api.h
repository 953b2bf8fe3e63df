#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/access.h"
#include "server/answer.h"
#include "server/engine_driver.h"
#include "server/generation.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/rank_table.h"
#include "server/work_thread.h"

namespace dinfer {

struct ApiOptions {
  ApiLimits limits;
  ApiKeys keys;
  std::vector<std::string> allowed_hosts;  // beside loopback's own names
  bool check_host = true;                  // the server listens on loopback
  bool page = true;
  size_t most_waiting = 512;  // sequences
};

// What /v1/dinfer/status tells beside counts.
struct ServedLayout {
  std::string layout;  // "single", "tensor-parallel"
  std::string device;
  int ranks = 1;
  double load_s = 0;
  std::vector<RankPlace> places;  // by rank
};

// The endpoints: who may call what, and what happens then. Lives on the HTTP server's thread;
// requests are parsed and tokenized on a thread beside it, so that a long one delays no stream.
class Api {
 public:
  enum class State : uint8_t { loading, ready, draining, dead };

  explicit Api(ApiOptions options);

  // Both before anything else; `post` runs a task on the HTTP server's thread.
  void attach(EngineDriver& driver, std::function<void(std::function<void()>)> post,
              const HttpServer& http);
  // From now on requests are served.
  void open(std::shared_ptr<const ServedModel> model, ServedLayout layout);
  void set_state(State state) { state_ = state; }

  void handle(HttpRequest request, std::shared_ptr<HttpReply> reply);
  void take_events(std::vector<EngineEvent> events);

 private:
  using Reply = std::shared_ptr<HttpReply>;
  using Clock = std::chrono::steady_clock;
  struct Call;  // a request with its reply and how it went
  struct Live {
    std::unique_ptr<ApiAnswer> answer;
    uint64_t first_handle = 0;
    std::shared_ptr<Call> call;
  };
  using Endpoint = void (Api::*)(const std::shared_ptr<Call>&);
  struct Route {
    const char* method;
    bool open;  // without a key
    Endpoint endpoint;
  };

  static const std::map<std::string, Route>& routes();
  const Route& find_route(const std::string& path, const std::string& method) const;
  void check_access(const HttpRequest& request, const Route& route) const;

  void page(const std::shared_ptr<Call>& call);
  void live(const std::shared_ptr<Call>& call);
  void health(const std::shared_ptr<Call>& call);
  void version(const std::shared_ptr<Call>& call);
  void metrics(const std::shared_ptr<Call>& call);
  void status(const std::shared_ptr<Call>& call);
  void openapi(const std::shared_ptr<Call>& call);
  void models(const std::shared_ptr<Call>& call);
  void tokenizer_info(const std::shared_ptr<Call>& call);
  void tokenize(const std::shared_ptr<Call>& call);
  void detokenize(const std::shared_ptr<Call>& call);
  void chat(const std::shared_ptr<Call>& call);
  void complete(const std::shared_ptr<Call>& call);
  void respond(const std::shared_ptr<Call>& call);

  void need_model() const;
  // Runs `read` on the body beside this thread, then `use` with what it gave, here.
  template <class Result>
  void parse(const std::shared_ptr<Call>& call,
             std::function<Result(const OrderedJson&, const ServedModel&, const ApiLimits&)> read,
             std::function<void(Result)> use);
  std::unique_ptr<AnswerFormat> format_of(Generation& generation, const std::string& id);
  void generate(const std::shared_ptr<Call>& call, Generation generation);
  void admit(size_t sequences);
  int retry_after() const;
  void start_probe(const std::shared_ptr<Call>& call);
  void answer_probes(const EngineEvent& event);
  void finish(const std::shared_ptr<Live>& live, int status);
  void send(const std::shared_ptr<Call>& call, HttpResponse response);
  void send_json(const std::shared_ptr<Call>& call, const OrderedJson& json, int status = 200);
  void send_error(const std::shared_ptr<Call>& call, const class ApiError& error);

  ApiOptions options_;
  EngineDriver* driver_ = nullptr;
  std::function<void(std::function<void()>)> post_;
  const HttpServer* http_ = nullptr;
  State state_ = State::loading;
  std::shared_ptr<const ServedModel> model_;
  ServedLayout layout_;
  std::optional<TokenTexts> texts_;
  Metrics metrics_;
  uint64_t next_handle_ = 1;
  std::unordered_map<uint64_t, std::shared_ptr<Live>> live_;    // by sequence
  std::unordered_map<uint64_t, std::shared_ptr<Call>> probes_;  // by sequence
  std::deque<Clock::time_point> ended_;                         // when the last sequences did
  size_t parsing_ = 0;
  Clock::time_point began_ = Clock::now();
  WorkThread parser_;
  WorkThread large_parser_;  // of large bodies, so that small ones need not wait for them
};

// What a refusal of the HTTP layer looks like to an OpenAI client.
HttpResponse refusal_response(int status, const std::string& message);

}  // namespace dinfer
