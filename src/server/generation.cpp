#include "server/generation.h"

#include <algorithm>
#include <random>

#include <fmt/ranges.h>

#include "base/whole_number.h"
#include "server/answer_format.h"
#include "server/api_error.h"

namespace dinfer {

namespace {

void read_sampling(ApiFields& fields, const ServedModel& model, SamplingParams& sampling) {
  const auto take = [&](std::string_view name, double low, double high, float& to) {
    if (const auto value = fields.number(name, low, high)) to = static_cast<float>(*value);
  };
  sampling = model.defaults;
  take("temperature", 0, 100, sampling.temperature);
  take("top_p", 0, 1, sampling.top_p);
  take("min_p", 0, 1, sampling.min_p);
  take("presence_penalty", -2, 2, sampling.presence_penalty);
  take("frequency_penalty", -2, 2, sampling.frequency_penalty);
  take("repetition_penalty", 1e-3, 1e3, sampling.repetition_penalty);
  if (const auto top_k = fields.integer("top_k", -1, model.vocab)) {
    sampling.top_k = static_cast<int32_t>(std::max<int64_t>(*top_k, 0));
  }
  // A draw from no probability at all is that of the likeliest token.
  if (sampling.top_p <= 0) sampling.temperature = 0;
  const auto seed = fields.integer("seed", std::numeric_limits<int64_t>::min(),
                                   std::numeric_limits<int64_t>::max());
  if (seed) {
    sampling.seed = static_cast<uint64_t>(*seed);
  } else {
    sampling.seed = model.seed ? *model.seed : std::random_device()();
  }
}

void read_biases(ApiFields& fields, const ServedModel& model, const ApiLimits& limits,
                 SamplingParams& sampling) {
  const OrderedJson* biases = fields.find("logit_bias");
  if (!biases) return;
  if (!biases->is_object() || biases->size() > limits.most_biases) {
    throw ApiError::bad_field("logit_bias",
                              fmt::format("must be an object of at most {} token ids with a "
                                          "number from -100 to 100 each",
                                          limits.most_biases));
  }
  for (const auto& [key, value] : biases->items()) {
    const auto id = whole_number(key, static_cast<int32_t>(model.vocab - 1));
    const double bias = value.is_number() ? value.get<double>() : 1000;
    if (!id || bias < -100 || bias > 100) {
      throw ApiError::bad_field(
          fmt::format("logit_bias.{}", key.substr(0, 20)),
          fmt::format("needs a token id from 0 to {} and a number from -100 to 100",
                      model.vocab - 1));
    }
    sampling.bias.push_back({*id, static_cast<float>(bias)});
  }
}

void read_ends(ApiFields& fields, const ServedModel& model, const ApiLimits& limits,
               Generation& generation) {
  generation.stop = model.stop;
  for (std::string& stop : fields.texts("stop", limits.most_stops, limits.longest_stop))
    generation.stop.push_back(std::move(stop));
  generation.include_stop = fields.boolean("include_stop_str_in_output").value_or(false);
  generation.stop_tokens = fields.tokens("stop_token_ids", limits.most_stops, model.vocab);
  generation.eos = generation.stop_tokens;
  const bool ignore_eos = fields.boolean("ignore_eos").value_or(model.ignore_eos);
  if (!ignore_eos) generation.eos.insert(generation.eos.end(), model.eos.begin(), model.eos.end());
  generation.min_tokens = fields.integer("min_tokens", 0, kMostTokens).value_or(0);
  if (generation.max_tokens >= 0 && generation.min_tokens > generation.max_tokens) {
    throw ApiError::bad_field("min_tokens",
                              fmt::format("is {}, more than the {} that max_tokens "
                                          "allows",
                                          generation.min_tokens, generation.max_tokens));
  }
  if (generation.min_tokens > 0) {
    generation.sampling.banned = model.eos;
    generation.sampling.banned.insert(generation.sampling.banned.end(),
                                      generation.stop_tokens.begin(), generation.stop_tokens.end());
    std::erase_if(generation.sampling.banned, [&](int32_t id) { return id >= model.vocab; });
  }
}

void read_prompt_logprobs(ApiFields& fields, const ApiLimits& limits, Generation& generation) {
  if (generation.form == AnswerForm::response)
    return fields.refuse("prompt_logprobs", "is a field of chat and completions");
  const auto top = fields.integer("prompt_logprobs", 0, limits.most_top_logprobs);
  if (!top) return;
  if (generation.stream)
    throw ApiError::bad_field("prompt_logprobs", "is not available in a stream",
                              "unsupported_parameter");
  generation.prompt_logprobs = static_cast<int>(*top);
}

void read_stream_options(ApiFields& fields, Generation& generation) {
  generation.stream = fields.boolean("stream").value_or(false);
  const OrderedJson* value = fields.find("stream_options");
  if (!value) return;
  ApiFields options(*value, "stream_options");
  generation.include_usage = options.boolean("include_usage").value_or(false);
  generation.continuous_usage = options.boolean("continuous_usage_stats").value_or(false);
  options.pass_over("include_obfuscation");
  for (const std::string& name : options.unread())
    generation.ignored.push_back("stream_options." + name);
}

// Fields that would change the answer, and that this version cannot honour.
void refuse_unsupported(ApiFields& fields) {
  constexpr std::string_view kConstrained = "is not available: use response_format";
  const OrderedJson none = OrderedJson::array();
  fields.refuse("functions", "is not available: use tools", {none});
  fields.refuse("function_call", "is not available: use tool_choice", {"none", "auto"});
  for (const char* name : {"structured_outputs", "guided_json", "guided_regex", "guided_choice",
                           "guided_grammar", "grammar", "json_schema"}) {
    fields.refuse(name, kConstrained);
  }
  fields.refuse("chat_template", "the server's own template is used: leave this out");
  fields.refuse("best_of", "is not available: use n", {1});
  fields.refuse("use_beam_search", "beam search is not available", {false});
  fields.refuse("suffix", "the model is not asked to fill in", {""});
  fields.refuse("truncate_prompt_tokens", "shorten the prompt yourself", {-1});
  fields.refuse("allowed_token_ids", "use logit_bias", {none});
  fields.refuse("bad_words", "use logit_bias", {none});
  fields.refuse("prompt_embeds", "prompts are text or token ids");
  fields.refuse("audio", "text is the only modality");
  fields.refuse("modalities", "text is the only modality", {OrderedJson::array({"text"})});
  fields.refuse("prediction", "is not available");
  fields.refuse("web_search_options", "is not available");
}

}  // namespace

void read_model_name(ApiFields& fields, const ServedModel& model) {
  const auto name = fields.text("model", 4096);
  if (!name || name->empty() || std::ranges::find(model.names, *name) != model.names.end()) return;
  throw ApiError(404, "invalid_request_error", "model_not_found",
                 fmt::format("the model {} is not served here; {} is", dump(name->substr(0, 200)),
                             model.names[0]),
                 "model");
}

std::vector<int32_t> encode_prompt(const std::string& text, const ServedModel& model,
                                   bool add_special) {
  return model.tokenizer->encode(text, {.add_special = add_special, .parse_special = true});
}

void read_common_fields(ApiFields& fields, const ServedModel& model, const ApiLimits& limits,
                        Generation& generation) {
  refuse_unsupported(fields);
  read_sampling(fields, model, generation.sampling);
  read_biases(fields, model, limits, generation.sampling);
  generation.n = static_cast<int>(fields.integer("n", 1, limits.most_choices).value_or(1));
  read_ends(fields, model, limits, generation);
  if (generation.grammar && generation.min_tokens > 0)
    throw ApiError::bad_field("min_tokens", "is not available beside response_format or tools",
                              "unsupported_parameter");
  const bool skip_special = fields.boolean("skip_special_tokens").value_or(true);
  if (!generation.grammar) generation.skip_special = skip_special;
  read_stream_options(fields, generation);
  read_prompt_logprobs(fields, limits, generation);
  generation.salt = fields.text("cache_salt", 1024).value_or("");
  generation.timeout_s =
      fields.number("timeout", 0.001, limits.timeout_s).value_or(limits.timeout_s);
  for (std::string& name : fields.unread()) generation.ignored.push_back(std::move(name));
  if (limits.strict && !generation.ignored.empty()) {
    throw ApiError::bad_field(generation.ignored[0], "is not known here (--strict-api)",
                              "unsupported_parameter");
  }
  const char* field = generation.form == AnswerForm::completion ? "prompt" : "messages";
  for (const GenerationPrompt& prompt : generation.prompts) {
    const auto tokens = static_cast<int64_t>(prompt.tokens.size());
    const int64_t room = generation.max_tokens == 0 ? 0 : 1;
    if (tokens == 0) throw ApiError::bad_field(field, "is empty");
    if (tokens + room > model.max_seq_len) {
      throw ApiError::bad_field(
          field,
          fmt::format("this model's maximum context length is {} tokens, the prompt has {}{}",
                      model.max_seq_len, tokens, room ? " and one is needed for the answer" : ""),
          "context_length_exceeded");
    }
  }
}

}  // namespace dinfer
