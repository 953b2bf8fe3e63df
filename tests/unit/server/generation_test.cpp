#include "server/generation.h"

#include <gtest/gtest.h>

#include "server/api_error.h"
#include "tests/unit/server/letters.h"

namespace dinfer {
namespace {

class GenerationTest : public ::testing::Test {
 protected:
  GenerationTest() {
    model_.names = {"letters", "default"};
    model_.tokenizer = &tokenizer_;
    model_.chat_template.emplace("{% for m in messages %}{{ m.content }}{% endfor %}");
    model_.eos = {0};
    model_.max_seq_len = 20;
    model_.vocab = 27;
    model_.grammars = std::make_shared<GrammarCache>(tokenizer_, model_.vocab, model_.eos);
  }

  Generation completion(const char* body) {
    return read_completion_request(OrderedJson::parse(body), model_, limits_);
  }
  Generation chat(const char* body) {
    return read_chat_request(OrderedJson::parse(body), model_, limits_);
  }
  // The field that a body is refused for, with its code.
  std::string refused(const char* body, bool as_chat = false) {
    try {
      as_chat ? chat(body) : completion(body);
    } catch (const ApiError& error) {
      const OrderedJson json = OrderedJson::parse(error.json())["error"];
      EXPECT_TRUE(error.status() == 400 || error.status() == 404);
      return json["param"].is_null() ? "" : json["param"].get<std::string>();
    }
    return "(taken)";
  }

  test::Letters tokenizer_;
  ServedModel model_;
  ApiLimits limits_;
};

// The message shows the first bytes of a name, which may end amid a character.
TEST_F(GenerationTest, a_model_that_is_not_served_is_named_in_part_where_it_is_long) {
  std::string name = "x";
  for (int i = 0; i < 200; ++i) name += "\u00e9";
  EXPECT_EQ(refused((R"({"prompt": "a", "model": ")" + name + R"("})").c_str()), "model");
}

TEST_F(GenerationTest, prompts_come_in_four_forms) {
  EXPECT_EQ(completion(R"({"prompt": "ab"})").prompts[0].tokens, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(completion(R"({"prompt": ["ab", "c"]})").prompts.size(), 2u);
  EXPECT_EQ(completion(R"({"prompt": [3, 0]})").prompts[0].text, "c<end>");
  const Generation batch = completion(R"({"prompt": [[1], [2, 3]], "n": 2})");
  EXPECT_EQ(batch.prompts[1].tokens, (std::vector<int32_t>{2, 3}));
  EXPECT_EQ(batch.sequences(), 4u);
  for (const char* body : {R"({})", R"({"prompt": null})", R"({"prompt": ""})", R"({"prompt": []})",
                           R"({"prompt": 5})", R"({"prompt": {}})"})
    EXPECT_EQ(refused(body), "prompt") << body;
  EXPECT_EQ(refused(R"({"prompt": [1, -1]})"), "prompt[1]");
  EXPECT_EQ(refused(R"({"prompt": [27]})"), "prompt[0]");
  EXPECT_EQ(refused(R"({"prompt": [1, "a"]})"), "prompt[1]");
  EXPECT_EQ(refused(R"({"prompt": [[1], []]})"), "prompt[1]");
}

TEST_F(GenerationTest, null_means_not_given) {
  const Generation got = completion(
      R"({"prompt": "a", "stop": null, "logprobs": null, "seed": null, "n": null, "tools": null,
          "max_tokens": null, "stream": null, "stream_options": null, "user": null})");
  EXPECT_EQ(got.max_tokens, 16);
  EXPECT_EQ(got.n, 1);
  EXPECT_TRUE(got.ignored.empty());
}

TEST_F(GenerationTest, numbers_are_held_to_their_ranges) {
  struct Case {
    const char *field, *low, *high, *below, *above;
  };
  for (const auto& [field, low, high, below, above] : std::initializer_list<Case>{
           {"temperature", "0", "2", "-0.1", "1e9"},
           {"top_p", "0", "1", "-0.1", "1.1"},
           {"min_p", "0", "1", "-1", "2"},
           {"presence_penalty", "-2", "2", "-2.1", "2.1"},
           {"frequency_penalty", "-2", "2", "-2.1", "2.1"},
           {"repetition_penalty", "0.5", "2", "0", "1e4"},
           {"top_k", "-1", "27", "-2", "28"},
           {"n", "1", "16", "0", "1000000"},
           {"logprobs", "0", "20", "-1", "21"},
           {"max_tokens", "1", "1000000", "-1", "1e300"},
           {"seed", "-9223372036854775808", "9223372036854775807", "-9223372036854775809",
            "18446744073709551616"},
           {"min_tokens", "0", "16", "-1", "17"},
       }) {
    const auto body = [&](const std::string& value) {
      return fmt::format(R"({{"prompt": "a", "{}": {}}})", field, value);
    };
    for (const char* good : {low, high}) EXPECT_EQ(refused(body(good).c_str()), "(taken)") << good;
    for (const char* bad : {below, above, "\"1\"", "true", "[]", "{}"})
      EXPECT_EQ(refused(body(bad).c_str()), field) << bad;
  }
}

TEST_F(GenerationTest, what_cannot_be_honoured_is_refused_by_name) {
  for (const char* field :
       {"tools", "functions", "response_format", "guided_json", "structured_outputs", "best_of",
        "suffix", "chat_template", "allowed_token_ids"}) {
    const std::string body = fmt::format(R"({{"prompt": "a", "{}": [1]}})", field);
    EXPECT_EQ(refused(body.c_str()), field);
  }
  EXPECT_EQ(refused(R"({"prompt": "a", "tools": [], "tool_choice": "none", "best_of": 1,
                        "response_format": {"type": "text"}, "suffix": ""})"),
            "(taken)");
}

TEST_F(GenerationTest, tools_and_formats_name_what_is_wrong) {
  const auto tools = [this](const std::string& rest) {
    return refused((R"({"messages": [{"role": "user", "content": "a"}], )" + rest + "}").c_str(),
                   true);
  };
  const std::string function = R"("tools": [{"type": "function", "function": {"name": "f"}}])";
  EXPECT_EQ(tools(R"("tools": 5)"), "tools");
  EXPECT_EQ(tools(R"("tools": [{"type": "retrieval"}])"), "tools[0].type");
  EXPECT_EQ(tools(R"("tools": [{"type": "function"}])"), "tools[0].function");
  EXPECT_EQ(tools(R"("tools": [{"type": "function", "function": {"name": "a b"}}])"),
            "tools[0].function.name");
  EXPECT_EQ(
      tools(R"("tools": [{"type": "function", "function": {"name": "f", "parameters": []}}])"),
      "tools[0].function.parameters");
  EXPECT_EQ(tools(function + R"(, "tool_choice": "perhaps")"), "tool_choice");
  EXPECT_EQ(tools(function + R"(, "tool_choice": {"type": "function", "function": {"name": "g"}})"),
            "tool_choice.function.name");
  EXPECT_EQ(tools(function + R"(, "response_format": {"type": "json_object"})"), "response_format");
  EXPECT_EQ(tools(R"("tool_choice": "required")"), "tool_choice");
  EXPECT_EQ(tools(R"("response_format": {"type": "xml"})"), "response_format.type");
  EXPECT_EQ(tools(R"("response_format": {"type": "json_schema"})"), "response_format.json_schema");
  EXPECT_EQ(tools(R"("response_format": {"type": "json_schema", "json_schema": {}})"),
            "response_format.json_schema.schema");
  // Letters cannot write JSON.
  EXPECT_EQ(tools(R"("response_format": {"type": "json_object"})"), "response_format");
  EXPECT_EQ(tools(function + R"(, "tool_choice": "none")"), "(taken)");
}

TEST_F(GenerationTest, fields_without_effect_are_named) {
  const Generation got = completion(
      R"({"prompt": "a", "user": "me", "surprise": 1, "stream_options": {"other": true}})");
  EXPECT_EQ(got.ignored, (std::vector<std::string>{"stream_options.other", "user", "surprise"}));
  limits_.strict = true;
  EXPECT_EQ(refused(R"({"prompt": "a", "user": "me"})"), "user");
}

TEST_F(GenerationTest, ends_and_biases) {
  const Generation got = completion(
      R"({"prompt": "ab", "stop": ["x", "yz"], "stop_token_ids": [5], "min_tokens": 3,
          "logit_bias": {"3": -100, "4": 1.5}})");
  EXPECT_EQ(got.stop, (std::vector<std::string>{"x", "yz"}));
  EXPECT_EQ(got.eos, (std::vector<int32_t>{5, 0}));
  EXPECT_EQ(got.sampling.banned, (std::vector<int32_t>{0, 5}));
  EXPECT_EQ(got.sampling.bias, (std::vector<TokenBias>{{3, -100}, {4, 1.5f}}));
  EXPECT_EQ(completion(R"({"prompt": "a", "stop": "x", "ignore_eos": true})").eos.size(), 0u);
  for (const char* body : {R"({"prompt": "a", "stop": ""})", R"({"prompt": "a", "stop": [""]})",
                           R"({"prompt": "a", "stop": [1]})"})
    EXPECT_EQ(refused(body), "stop") << body;
  EXPECT_EQ(refused(R"({"prompt": "a", "logit_bias": {"27": 1}})"), "logit_bias.27");
  EXPECT_EQ(refused(R"({"prompt": "a", "logit_bias": {"x": 1}})"), "logit_bias.x");
  EXPECT_EQ(refused(R"({"prompt": "a", "logit_bias": {"1": 101}})"), "logit_bias.1");
  EXPECT_EQ(refused(R"({"prompt": "a", "logit_bias": []})"), "logit_bias");
}

TEST_F(GenerationTest, prompts_must_leave_room_for_an_answer) {
  EXPECT_EQ(completion(R"({"prompt": "aaaaaaaaaaaaaaaaaaa"})").prompts[0].tokens.size(), 19u);
  EXPECT_EQ(refused(R"({"prompt": "aaaaaaaaaaaaaaaaaaaa"})"), "prompt");
  EXPECT_EQ(refused(R"({"prompt": "aaaaaaaaaaaaaaaaaaaa", "echo": true, "max_tokens": 0})"),
            "(taken)");
  EXPECT_EQ(refused(R"({"prompt": "a", "max_tokens": 0})"), "max_tokens");
}

TEST_F(GenerationTest, special_tokens_are_the_templates_and_the_raw_prompts_alone) {
  EXPECT_EQ(completion(R"({"prompt": "a<end>"})").prompts[0].tokens.back(), 0);
}

TEST_F(GenerationTest, messages_are_checked_one_by_one) {
  const Generation got = chat(
      R"({"messages": [{"role": "developer", "content": "a"},
                       {"role": "user", "content": [{"type": "text", "text": "b"},
                                                    {"type": "text", "text": "c"}]}]})");
  EXPECT_EQ(got.max_tokens, -1);
  EXPECT_EQ(got.prompts[0].tokens.size(), 4u) << "a, b, line end, c";
  const auto bad = [&](const char* messages) {
    return refused(fmt::format(R"({{"messages": {}}})", messages).c_str(), true);
  };
  EXPECT_EQ(bad("[]"), "messages");
  EXPECT_EQ(bad("\"hi\""), "messages");
  EXPECT_EQ(bad("[1]"), "messages[0]");
  EXPECT_EQ(bad(R"([{"content": "a"}])"), "messages[0].role");
  EXPECT_EQ(bad(R"([{"role": "boss", "content": "a"}])"), "messages[0].role");
  EXPECT_EQ(bad(R"([{"role": "user"}])"), "messages[0].content");
  EXPECT_EQ(bad(R"([{"role": "user", "content": 5}])"), "messages[0].content");
  EXPECT_EQ(bad(R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
            "messages[0].content[0]");
}

TEST_F(GenerationTest, the_smaller_of_two_limits_counts) {
  const Generation got = chat(
      R"({"messages": [{"role": "user", "content": "a"}], "max_tokens": 5,
          "max_completion_tokens": 3})");
  EXPECT_EQ(got.max_tokens, 3);
  EXPECT_FALSE(got.warning.empty());
}

TEST_F(GenerationTest, unknown_models_are_not_found) {
  EXPECT_EQ(refused(R"({"prompt": "a", "model": "gpt-4"})"), "model");
  EXPECT_EQ(refused(R"({"prompt": "a", "model": "default"})"), "(taken)");
  EXPECT_EQ(refused(R"({"prompt": "a", "model": 5})"), "model");
}

TEST_F(GenerationTest, templates_take_plain_arguments_only) {
  const char* form = R"({{"messages": [{{"role": "user", "content": "a"}}],
                          "chat_template_kwargs": {}}})";
  const auto with = [&](const char* kwargs) {
    return refused(fmt::format(fmt::runtime(form), kwargs).c_str(), true);
  };
  EXPECT_EQ(with(R"({"enable_thinking": false})"), "(taken)");
  EXPECT_EQ(with(R"({"x": [1]})"), "chat_template_kwargs.x");
  EXPECT_EQ(with(R"({"messages": 1})"), "chat_template_kwargs.messages");
}

}  // namespace
}  // namespace dinfer
