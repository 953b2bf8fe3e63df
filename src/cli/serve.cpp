#include "cli/serve.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/bench_shapes.h"
#include "cli/run_answer.h"
#include "cli/serve_endpoint.h"
#include "cli/start.h"
#include "server/descriptors.h"
#include "server/server.h"
#include "server/tool_format.h"

namespace dinfer {

namespace {

// As many connections as were asked for, or fewer where that is only the default.
size_t connections_of(const Options& options) {
  const auto wanted = static_cast<size_t>(options.max_connections);
  const size_t room = make_room_for_connections(wanted);
  if (room >= wanted) return wanted;
  if (room == 0 || wanted > HttpLimits{}.connections) {
    fail(ExitCode::config,
         "--max-connections {}: this process may have too few open files for more than {}: raise "
         "the limit (ulimit -Hn, or LimitNOFILE of its service)",
         wanted, room);
  }
  log::warn("at most {} connections: this process may have no more open files (ulimit -Hn)", room);
  return room;
}

ServerOptions server_options(const Options& o) {
  ServerOptions server{
      .host = o.host, .port = static_cast<uint16_t>(o.port), .keyless_ok = o.allow_keyless};
  server.http.body_bytes = static_cast<uint64_t>(o.max_body_bytes);
  server.http.connections = connections_of(o);
  server.http.connections_per_address = static_cast<size_t>(o.max_connections_per_address);
  server.http.head_s = o.header_timeout;
  server.http.idle_s = o.idle_timeout;
  server.http.write_s = o.write_timeout;
  server.api.limits.timeout_s = o.request_timeout;
  server.api.limits.strict = o.strict_api;
  if (o.tls_cert.empty() != o.tls_key.empty())
    fail(ExitCode::usage, "--tls-cert and --tls-key belong together: one of them is missing");
  if (!o.tls_cert.empty()) server.tls = TlsFiles{o.tls_cert, o.tls_key};
  if (!o.api_key_file.empty()) server.api.keys = ApiKeys(o.api_key_file);
  server.api.allowed_hosts = o.allowed_hosts;
  server.api.page = !o.no_ui;
  server.api.most_waiting = static_cast<size_t>(o.max_queue);
  return server;
}

// What clients may call the model: its name of --served-model-name, or the last part of --model
// ("org/name" of a hub model stays whole), and --model itself.
std::vector<std::string> model_names(const Options& options) {
  std::vector<std::string> names;
  if (!options.served_model_name.empty()) {
    names.push_back(options.served_model_name);
  } else if (!options.shape.empty()) {
    names.push_back(options.shape);
  } else if (is_present(options.model)) {
    const auto path = std::filesystem::absolute(options.model).lexically_normal();
    const auto last = path.has_filename() ? path : path.parent_path();
    names.push_back((last.extension() == ".gguf" ? last.stem() : last.filename()).string());
  } else {
    names.push_back(options.model);
  }
  for (const std::string& other : {options.model, std::string("default")}) {
    if (!other.empty() && std::ranges::find(names, other) == names.end()) names.push_back(other);
  }
  return names;
}

// Requests that do not say: the command line, then generation_config.json of a model that samples,
// then what OpenAI's API has.
SamplingParams request_defaults(const Options& given, const GenerationDefaults& by_model) {
  Options options = given;
  if (!options.temperature && !by_model.do_sample) options.temperature = 1.0;
  return sampling_of(options, by_model);
}

std::shared_ptr<const ServedModel> served_model(const Head& head, const Options& options) {
  auto model = std::make_shared<ServedModel>();
  model->names = model_names(options);
  model->tokenizer = head.tokenizer;
  model->chat_template_source = head.chat_template;
  if (!model->chat_template_source.empty())
    model->chat_template.emplace(model->chat_template_source);
  model->defaults = request_defaults(options, head.generation);
  model->max_tokens = options.max_tokens;
  model->seed = options.seed;
  model->stop = options.stop;
  model->ignore_eos = options.ignore_eos;
  model->eos = end_tokens(head);
  model->max_seq_len = head.engine.limits().max_seq_len;
  model->vocab = std::min<int64_t>(head.config.vocab, head.tokenizer->vocab_size());
  const TemplateTools tools = tools_of_template(model->chat_template_source);
  model->grammars =
      std::make_shared<GrammarCache>(*model->tokenizer, model->vocab, model->eos,
                                     special_tokens_of(*tools.format, *model->tokenizer));
  model->created = std::chrono::duration_cast<std::chrono::seconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  return model;
}

ServedLayout served_layout(const Head& head) {
  ServedLayout layout{
      .layout = head.layout, .device = head.device, .ranks = head.ranks, .load_s = head.load_s};
  const auto kv_blocks = static_cast<uint64_t>(head.engine.limits().blocks);
  for (size_t rank = 0; rank < head.memory.size(); ++rank) {
    const RankMemory& memory = head.memory[rank];
    layout.places.push_back({.host = head.hosts[rank],
                             .device = memory.device,
                             .units = head.units[rank],
                             .weight_bytes = memory.weights,
                             .kv_bytes = memory.kv_block * kv_blocks,
                             .activation_bytes = memory.working(head.engine.limits().max_seq_len)});
  }
  return layout;
}

void say_ready(const Server& server, const Options& options, double seconds) {
  const HttpServer& http = server.http();
  if (http.loopback()) {
    char host[256] = "HOST";
    gethostname(host, sizeof host - 1);
    log::info("listening on loopback only; from another machine: ssh -N -L {}:{}:{} {}",
              http.port(), http.address(), http.port(), host);
  } else if (options.api_key_file.empty()) {
    log::warn("everyone who can reach {} may use the model: no key is asked for", server.url());
  }
  log::info("ready: {} in {:.1f}s", server.url(), seconds);
}

// The exit code: 0 where all requests came to their end, the signal's otherwise.
int serve(Head& head, Server& server, const Options& options) {
  std::optional<EndpointFile> endpoint;
  int signals_at_drain = 0;
  const auto wish = [&] {
    const int signals = head.signals.count();
    if (signals == 0) return EngineDriver::Wish::go_on;
    if (signals_at_drain == 0) {
      signals_at_drain = signals;
      log::info("draining: running requests may take {} s, a second signal ends them",
                options.drain_timeout);
    }
    return signals > signals_at_drain ? EngineDriver::Wish::stop_now : EngineDriver::Wish::drain;
  };
  const bool all_ended =
      server.run(head.engine, served_model(head, options), served_layout(head), wish,
                 options.drain_timeout, [&] {
                   if (!options.endpoint_file.empty())
                     endpoint.emplace(options.endpoint_file, server.http(), server.url());
                   say_ready(server, options, head.load_s);
                 });
  if (all_ended) return static_cast<int>(ExitCode::ok);
  return static_cast<int>(head.signals.caught().value_or(ExitCode::terminated));
}

}  // namespace

int serve_command(const Options& options) {
  if (!options.shape.empty() && (!options.model.empty() || options.tokenizer.empty()))
    fail(ExitCode::usage, "--shape has random weights: it goes with --tokenizer, not with --model");
  std::unique_ptr<Server> server;  // on the head
  StartRequest request{.command = "serve",
                       .max_seqs = options.max_seqs,
                       .scores = true,
                       .deterministic = options.deterministic,
                       .prefix_cache = !options.no_prefix_cache && !options.deterministic,
                       .answers = true,
                       .prepare = [&] {
                         check_endpoint_file(options.endpoint_file);
                         if (!options.dry_run)
                           server = std::make_unique<Server>(server_options(options));
                       }};
  if (!options.shape.empty()) request.shape = published_shape(options.shape);
  return run_on_ranks(options, request, [&](Head& head) { return serve(head, *server, options); });
}

}  // namespace dinfer
