#include "server/api.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/build_info.h"
#include "base/log.h"
#include "server/api_error.h"
#include "server/chunk_format.h"
#include "server/openapi.h"
#include "server/page.h"
#include "server/responses_format.h"
#include "server/tool_request.h"

namespace dinfer {

namespace {

constexpr JsonLimits kBodyLimits{.depth = 64, .values = 200'000};
constexpr size_t kLargeBody = 64 * 1024;  // milliseconds of work and more
constexpr double kProbeSeconds = 5;

std::string_view name_of(Api::State state) {
  switch (state) {
    case Api::State::loading:
      return "loading";
    case Api::State::ready:
      return "ready";
    case Api::State::draining:
      return "draining";
    case Api::State::dead:
      return "engine_dead";
  }
  return "?";
}

ApiError state_error(Api::State state) {
  switch (state) {
    case Api::State::loading:
      return ApiError::unavailable("loading", "the model is being loaded", 5);
    case Api::State::draining:
      return ApiError::unavailable("draining", "the server is shutting down", 10);
    default:
      return ApiError::unavailable("engine_dead", "the engine has failed", 30);
  }
}

int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// JSON text of a body as a value; ApiError(400) where it is none.
OrderedJson body_json(const std::string& body) {
  try {
    return parse_ordered_json(body, "the body", ExitCode::usage, kBodyLimits);
  } catch (const Error& error) {
    throw ApiError(400, "invalid_request_error", "invalid_json", error.what());
  }
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    std::string plain = name.substr(0, 64);  // it becomes a header
    std::ranges::replace_if(
        plain, [](unsigned char c) { return c < 0x21 || c > 0x7e; }, '?');
    text += (text.empty() ? "" : ",") + plain;
    if (text.size() > 1000) break;
  }
  return text;
}

}  // namespace

struct Api::Call {
  HttpRequest request;
  Reply reply;
  std::string id;
  Clock::time_point began = Clock::now();
  bool gone = false;
};

Api::Api(ApiOptions options) : options_(std::move(options)) {}

void Api::attach(EngineDriver& driver, std::function<void(std::function<void()>)> post,
                 const HttpServer& http) {
  driver_ = &driver;
  post_ = std::move(post);
  http_ = &http;
}

void Api::open(std::shared_ptr<const ServedModel> model, ServedLayout layout) {
  model_ = std::move(model);
  layout_ = std::move(layout);
  texts_.emplace(*model_->tokenizer);
  state_ = State::ready;
}

const std::map<std::string, Api::Route>& Api::routes() {
  static const std::map<std::string, Route> table{
      {"/", {"GET", true, &Api::page}},
      {"/livez", {"GET", true, &Api::live}},
      {"/readyz", {"GET", true, &Api::health}},
      {"/health", {"GET", true, &Api::health}},
      {"/version", {"GET", false, &Api::version}},
      {"/metrics", {"GET", false, &Api::metrics}},
      {"/v1/dinfer/status", {"GET", false, &Api::status}},
      {"/openapi.json", {"GET", false, &Api::openapi}},
      {"/v1/models", {"GET", false, &Api::models}},
      {"/tokenizer_info", {"GET", false, &Api::tokenizer_info}},
      {"/tokenize", {"POST", false, &Api::tokenize}},
      {"/detokenize", {"POST", false, &Api::detokenize}},
      {"/v1/chat/completions", {"POST", false, &Api::chat}},
      {"/v1/completions", {"POST", false, &Api::complete}},
      {"/v1/responses", {"POST", false, &Api::respond}},
  };
  return table;
}

const Api::Route& Api::find_route(const std::string& path, const std::string& method) const {
  // A name may hold slashes: everything below /v1/models/ is one model.
  const std::string key = path.starts_with("/v1/models/") ? "/v1/models" : path;
  const auto found = routes().find(key);
  if (found == routes().end() || (key == "/" && !options_.page)) {
    throw ApiError(404, "invalid_request_error", "not_found",
                   fmt::format("there is no {} here",
                               OrderedJson(path.substr(0, 200))
                                   .dump(-1, ' ', true, OrderedJson::error_handler_t::replace)));
  }
  if (found->second.method != method) {
    throw ApiError::wrong_method(key, found->second.method);
  }
  return found->second;
}

void Api::check_access(const HttpRequest& request, const Route& route) const {
  if (options_.check_host && !host_allowed(request.header("host"), options_.allowed_hosts)) {
    throw ApiError(403, "permission_error", "host_not_allowed",
                   "the Host header names another machine than this loopback server; "
                   "--allowed-host admits a name");
  }
  if (!route.open && !options_.keys.admit(request.header("authorization"))) {
    throw ApiError(401, "authentication_error", "invalid_api_key",
                   "the API key is missing or wrong: Authorization: Bearer KEY");
  }
  if (std::string_view(route.method) == "POST" && !is_json_type(request.header("content-type"))) {
    throw ApiError(415, "invalid_request_error", "unsupported_media_type",
                   "the Content-Type must be application/json");
  }
  const std::string& encoding = request.header("content-encoding");
  if (!encoding.empty() && encoding != "identity") {
    throw ApiError(415, "invalid_request_error", "unsupported_media_type",
                   "bodies with a Content-Encoding are not read: send it as it is");
  }
}

void Api::handle(HttpRequest request, Reply reply) {
  auto call = std::make_shared<Call>();
  call->id = request_id(request);
  call->request = std::move(request);
  call->reply = std::move(reply);
  call->reply->on_gone([call = std::weak_ptr<Call>(call)] {
    if (const auto live = call.lock()) live->gone = true;
  });
  try {
    const Route& route = find_route(call->request.path, call->request.method);
    check_access(call->request, route);
    (this->*route.endpoint)(call);
  } catch (const ApiError& error) {
    send_error(call, error);
  }
}

void Api::page(const std::shared_ptr<Call>& call) {
  send(call, {.content_type = "text/html; charset=utf-8",
              .headers = {{"Content-Security-Policy", page_policy()},
                          {"Referrer-Policy", "no-referrer"},
                          {"X-Frame-Options", "DENY"}},
              .body = std::string(page_html())});
}

void Api::live(const std::shared_ptr<Call>& call) { send_json(call, {{"status", "alive"}}); }

void Api::health(const std::shared_ptr<Call>& call) {
  if (state_ != State::ready) {
    return send_json(call, {{"status", name_of(state_)}}, 503);
  }
  const auto deep = call->request.query.find("deep");
  if (deep != call->request.query.end() && deep->second == "1") {
    if (!options_.keys.admit(call->request.header("authorization"))) {
      throw ApiError(401, "authentication_error", "invalid_api_key", "deep checks need the key");
    }
    return start_probe(call);
  }
  send_json(call, {{"status", "ok"}});
}

void Api::version(const std::shared_ptr<Call>& call) {
  send_json(call, {{"version", build_info().version}});
}

void Api::metrics(const std::shared_ptr<Call>& call) {
  send(call, {.content_type = "text/plain; version=0.0.4; charset=utf-8",
              .body = metrics_.text(model_ ? model_->names[0] : "", layout_.ranks, driver_->stats(),
                                    http_->counts())});
}

void Api::status(const std::shared_ptr<Call>& call) {
  const EngineStats engine = driver_->stats();
  const HttpCounts& http = http_->counts();
  OrderedJson json{{"state", name_of(state_)},
                   {"version", build_info().version},
                   {"uptime_s", std::chrono::duration<double>(Clock::now() - began_).count()}};
  if (model_) {
    json["model"] = model_->names[0];
    json["max_model_len"] = model_->max_seq_len;
    json["layout"] = layout_.layout;
    json["ranks"] = layout_.ranks;
    json["replicas"] = engine.replicas.size();
    json["device"] = layout_.device;
    json["load_s"] = layout_.load_s;
  }
  json["engine"] = {{"running", engine.running},
                    {"waiting", engine.waiting},
                    {"steps", engine.steps},
                    {"step_s", engine.step_s},
                    {"preemptions", engine.preemptions},
                    {"prompt_tokens_seen", engine.admitted_tokens},
                    {"prompt_tokens_cached", engine.cached_tokens},
                    {"kv_blocks", engine.blocks},
                    {"kv_blocks_free", engine.free_blocks}};
  json["tokens"] = {{"prompt", metrics_.prompt_tokens}, {"generated", metrics_.generation_tokens}};
  json["rank_table"] = describe(engine.ranks ? *engine.ranks : RankSummary{}, layout_.places);
  json["http"] = {{"connections", http.connections},
                  {"accepted", http.accepted},
                  {"refused", http.refused},
                  {"slow_readers", http.slow_readers}};
  send_json(call, json);
}

void Api::openapi(const std::shared_ptr<Call>& call) {
  need_model();
  send_json(call, describe_api(model_->vocab, options_.keys.required()));
}

void Api::models(const std::shared_ptr<Call>& call) {
  need_model();
  OrderedJson model{{"id", model_->names[0]},
                    {"object", "model"},
                    {"created", model_->created},
                    {"owned_by", "dinfer"},
                    {"max_model_len", model_->max_seq_len},
                    {"status", "loaded"},
                    {"layout", layout_.layout}};
  constexpr std::string_view kPrefix = "/v1/models/";
  if (!call->request.path.starts_with(kPrefix)) {
    return send_json(call, {{"object", "list"}, {"data", OrderedJson::array({model})}});
  }
  const std::string name = call->request.path.substr(kPrefix.size());
  if (std::ranges::find(model_->names, name) == model_->names.end()) {
    throw ApiError(404, "invalid_request_error", "model_not_found",
                   fmt::format("this model is not served here; {} is", model_->names[0]), "model");
  }
  send_json(call, model);
}

void Api::tokenizer_info(const std::shared_ptr<Call>& call) {
  need_model();
  OrderedJson json = OrderedJson::object();
  for (const auto& [name, text] : model_->tokenizer->special_texts()) json[name] = text;
  json["model_max_length"] = model_->max_seq_len;
  json["vocab_size"] = model_->vocab;
  if (model_->chat_template) json["chat_template"] = model_->chat_template_source;
  send_json(call, json);
}

void Api::tokenize(const std::shared_ptr<Call>& call) {
  const auto read = [](const OrderedJson& body, const ServedModel& model, const ApiLimits& limits) {
    ApiFields fields(body, "");
    read_model_name(fields, model);
    const bool strings = fields.boolean("return_token_strs").value_or(false);
    const bool add_special = fields.boolean("add_special_tokens").value_or(true);
    std::vector<int32_t> ids;
    if (fields.find("messages")) {
      ids = read_conversation(fields, model, limits, read_tools(fields, model));
    } else if (const auto prompt = fields.text("prompt", limits.longest_text)) {
      ids = encode_prompt(*prompt, model, add_special);
    } else {
      throw ApiError::bad_field("prompt", "is missing (or messages)");
    }
    OrderedJson result{
        {"count", ids.size()}, {"max_model_len", model.max_seq_len}, {"tokens", ids}};
    if (strings) {
      OrderedJson list = OrderedJson::array();
      for (const int32_t id : ids) list.push_back(model.tokenizer->decode({&id, 1}, false));
      result["token_strs"] = std::move(list);
    }
    return result;
  };
  parse<OrderedJson>(call, read, [this, call](OrderedJson json) { send_json(call, json); });
}

void Api::detokenize(const std::shared_ptr<Call>& call) {
  const auto read = [](const OrderedJson& body, const ServedModel& model, const ApiLimits& limits) {
    ApiFields fields(body, "");
    read_model_name(fields, model);
    if (!fields.find("tokens")) throw ApiError::bad_field("tokens", "is missing");
    const auto ids = fields.tokens("tokens", limits.longest_text, model.vocab);
    return OrderedJson{{"prompt", model.tokenizer->decode(ids, false)}};
  };
  parse<OrderedJson>(call, read, [this, call](OrderedJson json) { send_json(call, json); });
}

void Api::chat(const std::shared_ptr<Call>& call) {
  parse<Generation>(call, read_chat_request,
                    [this, call](Generation generation) { generate(call, std::move(generation)); });
}

void Api::complete(const std::shared_ptr<Call>& call) {
  parse<Generation>(call, read_completion_request,
                    [this, call](Generation generation) { generate(call, std::move(generation)); });
}

void Api::respond(const std::shared_ptr<Call>& call) {
  parse<Generation>(call, read_responses_request,
                    [this, call](Generation generation) { generate(call, std::move(generation)); });
}

void Api::need_model() const {
  if (state_ == State::loading || state_ == State::dead) throw state_error(state_);
}

template <class Result>
void Api::parse(
    const std::shared_ptr<Call>& call,
    std::function<Result(const OrderedJson&, const ServedModel&, const ApiLimits&)> read,
    std::function<void(Result)> use) {
  if (state_ != State::ready) throw state_error(state_);
  admit(1);
  ++parsing_;
  WorkThread& parser = call->request.body.size() > kLargeBody ? large_parser_ : parser_;
  parser.post([this, call, read = std::move(read), use = std::move(use), model = model_] {
    std::optional<ApiError> error;
    std::shared_ptr<Result> result;
    try {
      result =
          std::make_shared<Result>(read(body_json(call->request.body), *model, options_.limits));
    } catch (const ApiError& e) {
      error = e;
    } catch (const Error& e) {
      error = ApiError(400, "invalid_request_error", "", e.what());
    } catch (const std::exception& e) {
      error = ApiError(500, "server_error", "internal_error", e.what());
    }
    call->request.body = {};
    post_([this, call, use, result, error] {
      --parsing_;
      if (call->gone) return;
      try {
        if (error) throw *error;
        use(std::move(*result));
      } catch (const ApiError& e) {
        send_error(call, e);
      }
    });
  });
}

// Error(429) where so many sequences more would not fit the queue.
void Api::admit(size_t sequences) {
  const size_t waiting = driver_->waiting() + parsing_;
  if (waiting + sequences <= options_.most_waiting) return;
  metrics_.count_refusal("queue_full");
  throw ApiError::overloaded(
      fmt::format("{} sequences wait already, at most {} may", waiting, options_.most_waiting),
      retry_after());
}

// Seconds until what waits now should be done, at the rate of the last sequences.
int Api::retry_after() const {
  if (ended_.size() < 2) return 5;
  const double span = std::chrono::duration<double>(Clock::now() - ended_.front()).count();
  const double rate = static_cast<double>(ended_.size()) / std::max(span, 1e-3);
  return static_cast<int>(
      std::clamp(std::ceil(static_cast<double>(driver_->waiting()) / rate), 1.0, 60.0));
}

std::unique_ptr<AnswerFormat> Api::format_of(Generation& generation, const std::string& id) {
  const bool chat = generation.form == AnswerForm::chat;
  AnswerFrame frame{.model = model_->names[0], .created = now_s()};
  if (generation.form == AnswerForm::response) {
    frame.id = "resp_" + id;
    return std::make_unique<ResponsesFormat>(std::move(frame), std::move(generation.asked),
                                             *texts_);
  }
  frame.id = (chat ? "chatcmpl-" : "cmpl-") + id;
  const ChunkFormat::Options options{.chat = chat,
                                     .include_usage = generation.include_usage,
                                     .continuous_usage = generation.continuous_usage};
  return std::make_unique<ChunkFormat>(std::move(frame), options, *texts_);
}

void Api::generate(const std::shared_ptr<Call>& call, Generation generation) {
  if (state_ != State::ready) throw state_error(state_);
  if (generation.sequences() > options_.most_waiting)
    throw ApiError::bad_field(
        generation.n > 1 ? "n" : "prompt",
        fmt::format("{} sequences in one request, at most {} may wait (--max-queue)",
                    generation.sequences(), options_.most_waiting));
  admit(generation.sequences());
  std::vector<std::pair<std::string, std::string>> headers{{"X-Request-Id", call->id}};
  if (!generation.ignored.empty())
    headers.emplace_back("X-Dinfer-Ignored", joined(generation.ignored));
  if (!generation.warning.empty()) headers.emplace_back("X-Dinfer-Warning", generation.warning);
  generation.salt = options_.keys.tag(call->request.header("authorization")) + generation.salt;
  std::unique_ptr<AnswerFormat> format = format_of(generation, call->id);
  auto live = std::make_shared<Live>();
  live->call = call;
  live->first_handle = next_handle_;
  live->answer = std::make_unique<ApiAnswer>(std::move(generation), *model_, metrics_, call->reply,
                                             std::move(format), std::move(headers));
  const size_t count = live->answer->sequences();
  for (size_t i = 0; i < count; ++i) live_[next_handle_ + i] = live;
  next_handle_ += count;
  call->reply->on_gone([this, weak = std::weak_ptr<Live>(live)] {
    if (const auto left = weak.lock()) finish(left, 499);
  });
  live->answer->begin();
  driver_->submit(live->answer->jobs(live->first_handle));
}

void Api::take_events(std::vector<EngineEvent> events) {
  std::vector<uint64_t> unneeded;
  for (const EngineEvent& event : events) {
    answer_probes(event);
    const auto found = live_.find(event.handle);
    if (found == live_.end()) continue;
    const std::shared_ptr<Live> live = found->second;
    if (live->answer->take(event.handle - live->first_handle, event))
      unneeded.push_back(event.handle);
    if (event.kind == EngineEvent::Kind::done) {
      ended_.push_back(Clock::now());
      if (ended_.size() > 64) ended_.pop_front();
    }
    // A reader that was too slow is gone by now, with its answer.
    if (live->answer->finished() && live_.contains(event.handle))
      finish(live, live->answer->status());
  }
  if (!unneeded.empty()) driver_->cancel(std::move(unneeded));
}

// The answer has ended, or its client has gone: what still runs of it need not.
void Api::finish(const std::shared_ptr<Live>& live, int status) {
  const size_t count = live->answer->sequences();
  if (!live_.contains(live->first_handle)) return;
  std::vector<uint64_t> handles;
  for (size_t i = 0; i < count; ++i) {
    handles.push_back(live->first_handle + i);
    live_.erase(live->first_handle + i);
  }
  driver_->cancel(std::move(handles));
  const Usage& usage = live->answer->usage();
  metrics_.prompt_tokens += static_cast<uint64_t>(usage.prompt_tokens);
  metrics_.generation_tokens += static_cast<uint64_t>(usage.completion_tokens);
  metrics_.count_answer(live->call->request.path, status);
  log::info("{} {} prompt_tokens={} completion_tokens={} seconds={:.3f} id={}",
            live->call->request.path, status, usage.prompt_tokens, usage.completion_tokens,
            std::chrono::duration<double>(Clock::now() - live->call->began).count(),
            live->call->id);
}

// One token through all ranks: only what works can give it. Behind a queue the next token of any
// answer is as good a proof: a busy server is not taken for a dead one.
void Api::start_probe(const std::shared_ptr<Call>& call) {
  EngineJob job{.handle = next_handle_++, .timeout_s = kProbeSeconds};
  job.request = {.prompt = {0}, .sampling = {.temperature = 0}, .max_tokens = 1};
  probes_[job.handle] = call;
  std::vector<EngineJob> jobs;
  jobs.push_back(std::move(job));
  driver_->submit(std::move(jobs));
}

void Api::answer_probes(const EngineEvent& event) {
  if (event.kind == EngineEvent::Kind::failed) {
    if (const auto probe = probes_.extract(event.handle))
      send_json(probe.mapped(), {{"status", "failed"}, {"error", event.error}}, 503);
    return;
  }
  std::vector<uint64_t> unneeded;
  for (const auto& [handle, call] : std::exchange(probes_, {})) {
    unneeded.push_back(handle);
    send_json(call,
              {{"status", "ok"},
               {"ranks", layout_.ranks},
               {"token_s", std::chrono::duration<double>(Clock::now() - call->began).count()}});
  }
  if (!unneeded.empty()) driver_->cancel(std::move(unneeded));
}

void Api::send(const std::shared_ptr<Call>& call, HttpResponse response) {
  response.headers.emplace_back("X-Request-Id", call->id);
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  metrics_.count_answer(routes().contains(call->request.path) ? call->request.path : "other",
                        response.status);
  call->reply->send(std::move(response));
}

void Api::send_json(const std::shared_ptr<Call>& call, const OrderedJson& json, int status) {
  send(call, {.status = status, .body = dump(json)});
}

void Api::send_error(const std::shared_ptr<Call>& call, const ApiError& error) {
  log::debug("{} {} id={}", error.status(), error.type(), call->id);
  send(call, error.response());
}

HttpResponse refusal_response(int status, const std::string& message) {
  if (status == 503) return ApiError::unavailable("overloaded", message, 1).response();
  return ApiError::of_status(status, message).response();
}

}  // namespace dinfer
