#include "server/answer.h"

#include <gtest/gtest.h>

#include "server/chunk_format.h"
#include "tests/unit/server/letters.h"

namespace dinfer {
namespace {

class Recorder : public HttpReply {
 public:
  void send(HttpResponse response) override { sent = std::move(response); }
  void start_stream(HttpResponse response) override { head = std::move(response); }
  void write(std::string_view piece) override { written += piece; }
  void end() override { ended = true; }
  void on_gone(std::function<void()>) override {}

  // The objects of the events so far; each must be one line, and the last "[DONE]" once ended.
  std::vector<OrderedJson> events() const {
    std::vector<OrderedJson> objects;
    bool done = false;
    for (size_t at = 0; at < written.size();) {
      const size_t end = written.find("\n\n", at);
      EXPECT_NE(end, std::string::npos);
      const std::string line = written.substr(at, end - at);
      EXPECT_EQ(line.substr(0, 6), "data: ");
      EXPECT_EQ(line.find('\n'), std::string::npos);
      EXPECT_FALSE(done) << "nothing follows [DONE]";
      done = line == "data: [DONE]";
      if (!done) objects.push_back(OrderedJson::parse(line.substr(6)));
      at = end + 2;
    }
    EXPECT_EQ(done, ended);
    return objects;
  }
  OrderedJson body() const { return OrderedJson::parse(sent.body); }

  HttpResponse sent, head;
  std::string written;
  bool ended = false;
};

class AnswerTest : public ::testing::Test {
 protected:
  AnswerTest() : texts_(tokenizer_), reply_(std::make_shared<Recorder>()) {
    model_.names = {"letters"};
    model_.tokenizer = &tokenizer_;
    generation_.form = AnswerForm::chat;
    generation_.prompts = {{.tokens = {1, 2}, .text = "ab"}};
    generation_.eos = {0};
  }

  ApiAnswer answer() {
    return {generation_,
            model_,
            metrics_,
            reply_,
            std::make_unique<ChunkFormat>(
                AnswerFrame{.id = "x-1", .model = "letters"},
                ChunkFormat::Options{.chat = generation_.form == AnswerForm::chat,
                                     .include_usage = generation_.include_usage,
                                     .continuous_usage = generation_.continuous_usage},
                texts_),
            {{"X-Request-Id", "1"}}};
  }
  static EngineEvent token(char letter) {
    return {.kind = EngineEvent::Kind::token,
            .id = letter == '$' ? 0 : letter - 'a' + 1,
            .logprob = -0.5f,
            .top = {{letter - 'a' + 1, -0.5f}, {3, -1.5f}}};
  }
  static EngineEvent done(FinishReason reason = FinishReason::stop) {
    return {.kind = EngineEvent::Kind::done, .finish = {.reason = reason}};
  }
  static void feed(ApiAnswer& answer, const std::string& letters) {
    for (const char letter : letters) answer.take(0, token(letter));
  }

  test::Letters tokenizer_;
  ServedModel model_;
  TokenTexts texts_;
  Metrics metrics_;
  Generation generation_;
  std::shared_ptr<Recorder> reply_;
};

TEST_F(AnswerTest, a_whole_answer_is_one_object) {
  ApiAnswer whole = answer();
  whole.begin();
  feed(whole, "xyz$");
  EXPECT_TRUE(reply_->sent.body.empty());
  whole.take(0, done());
  const OrderedJson body = reply_->body();
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["choices"][0]["message"]["content"], "xyz");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["usage"]["prompt_tokens"], 2);
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
  EXPECT_TRUE(whole.finished());
}

TEST_F(AnswerTest, a_stream_begins_with_the_role_and_ends_with_the_reason_and_the_usage) {
  generation_.stream = generation_.include_usage = true;
  ApiAnswer stream = answer();
  stream.begin();
  EXPECT_EQ(reply_->head.content_type, "text/event-stream");
  feed(stream, "xy");
  stream.take(0, done(FinishReason::length));
  const auto events = reply_->events();
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(events[1]["choices"][0]["delta"]["content"], "x");
  EXPECT_EQ(events[2]["choices"][0]["delta"]["content"], "y");
  EXPECT_TRUE(events[2]["choices"][0]["finish_reason"].is_null());
  EXPECT_TRUE(events[2]["usage"].is_null());
  EXPECT_TRUE(events[3]["choices"][0]["delta"].empty());
  EXPECT_EQ(events[3]["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(events[4]["choices"].empty());
  EXPECT_EQ(events[4]["usage"]["total_tokens"], 4);
}

TEST_F(AnswerTest, a_stop_text_ends_the_sequence_and_is_not_shown) {
  generation_.stream = true;
  generation_.stop = {"yz"};
  ApiAnswer stream = answer();
  EXPECT_FALSE(stream.take(0, token('x')));
  EXPECT_FALSE(stream.take(0, token('y')));
  EXPECT_TRUE(stream.take(0, token('z'))) << "the engine need not go on";
  EXPECT_FALSE(stream.take(0, token('w'))) << "what comes late is passed over";
  std::string text;
  for (const OrderedJson& event : reply_->events()) {
    text += event["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, "x");
  EXPECT_EQ(reply_->events().back()["choices"][0]["stop_reason"], "yz");
}

TEST_F(AnswerTest, a_failed_stream_ends_with_an_error_and_no_reason) {
  generation_.stream = true;
  ApiAnswer stream = answer();
  feed(stream, "x");
  stream.take(0, {.kind = EngineEvent::Kind::failed, .status = 500, .error = "rank 2 died"});
  const auto events = reply_->events();
  EXPECT_EQ(events.back()["error"]["message"], "rank 2 died");
  for (const OrderedJson& event : events) {
    if (!event.contains("choices")) continue;
    EXPECT_TRUE(event["choices"][0]["finish_reason"].is_null());
  }
}

TEST_F(AnswerTest, a_failed_whole_answer_has_a_status) {
  ApiAnswer whole = answer();
  feed(whole, "x");
  whole.take(0, {.kind = EngineEvent::Kind::failed, .status = 503, .error = "shutting down"});
  EXPECT_EQ(reply_->sent.status, 503);
  EXPECT_EQ(reply_->body()["error"]["code"], "draining");
}

TEST_F(AnswerTest, echo_gives_the_prompt_with_its_log_probabilities) {
  generation_.form = AnswerForm::completion;
  generation_.echo = true;
  generation_.top_logprobs = 1;
  generation_.prompts[0].offsets = {0, 1};
  ApiAnswer whole = answer();
  whole.take(
      0, {.kind = EngineEvent::Kind::prompt_token, .id = 2, .logprob = -2, .top = {{7, -0.25f}}});
  feed(whole, "c");
  whole.take(0, done(FinishReason::length));
  const OrderedJson choice = reply_->body()["choices"][0];
  EXPECT_EQ(choice["text"], "abc");
  const OrderedJson& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"], (OrderedJson{"a", "b", "c"}));
  EXPECT_EQ(logprobs["token_logprobs"], (OrderedJson{nullptr, -2, -0.5}));
  EXPECT_EQ(logprobs["text_offset"], (OrderedJson{0, 1, 2}));
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["top_logprobs"][1], (OrderedJson{{"g", -0.25}, {"b", -2}}));
}

// The end is no part of the text, as special tokens are not where they are left out.
TEST_F(AnswerTest, offsets_are_those_of_the_text_whole_and_streamed) {
  generation_.form = AnswerForm::completion;
  generation_.echo = true;
  generation_.top_logprobs = 0;
  generation_.prompts = {{.tokens = {0, 1, 2}, .text = "ab", .offsets = {0, 0, 1}}};
  for (const bool stream : {false, true}) {
    generation_.stream = stream;
    *reply_ = {};
    ApiAnswer got = answer();
    got.begin();
    for (const int32_t id : {1, 2})
      got.take(0, {.kind = EngineEvent::Kind::prompt_token, .id = id, .logprob = -2});
    feed(got, "cd$");
    got.take(0, done());
    std::vector<size_t> offsets;
    for (const OrderedJson& answered : stream ? reply_->events() : std::vector{reply_->body()}) {
      const auto& part = answered["choices"][0]["logprobs"]["text_offset"];
      offsets.insert(offsets.end(), part.begin(), part.end());
    }
    EXPECT_EQ(offsets, (std::vector<size_t>{0, 0, 1, 2, 3, 4})) << stream;
  }
}

TEST_F(AnswerTest, prompt_log_probabilities_stand_beside_the_answer) {
  generation_.prompt_logprobs = 1;
  for (const AnswerForm form : {AnswerForm::completion, AnswerForm::chat}) {
    generation_.form = form;
    ApiAnswer whole = answer();
    const auto jobs = whole.jobs(1);
    EXPECT_TRUE(jobs[0].request.score);
    EXPECT_EQ(jobs[0].request.report.top, 1);
    whole.take(
        0, {.kind = EngineEvent::Kind::prompt_token, .id = 2, .logprob = -2, .top = {{7, -0.25f}}});
    feed(whole, "c");
    whole.take(0, done(FinishReason::length));
    const OrderedJson body = reply_->body();
    const bool chat = form == AnswerForm::chat;
    EXPECT_TRUE(body["choices"][0]["logprobs"].is_null());
    const OrderedJson prompt =
        chat ? body["prompt_logprobs"] : body["choices"][0]["prompt_logprobs"];
    ASSERT_EQ(prompt.size(), 2u);
    EXPECT_TRUE(prompt[0].is_null());
    EXPECT_EQ(prompt[1]["7"],
              (OrderedJson{{"logprob", -0.25}, {"rank", 1}, {"decoded_token", "g"}}));
    EXPECT_EQ(prompt[1]["2"],
              (OrderedJson{{"logprob", -2}, {"rank", nullptr}, {"decoded_token", "b"}}));
  }
}

TEST_F(AnswerTest, sequences_share_a_seed_and_differ_in_their_stream) {
  generation_.prompts.push_back({.tokens = {3}});
  generation_.n = 2;
  generation_.min_tokens = 4;
  const auto jobs = answer().jobs(100);
  ASSERT_EQ(jobs.size(), 4u);
  EXPECT_EQ(jobs[3].handle, 103u);
  EXPECT_EQ(jobs[3].request.prompt, (std::vector<int32_t>{3}));
  EXPECT_EQ(jobs[2].request.sampling.stream, 0u);
  EXPECT_EQ(jobs[3].request.sampling.stream, 1u);
  EXPECT_EQ(jobs[3].request.sampling.banned_before, 5);
}

}  // namespace
}  // namespace dinfer
