// Tokenizers from hostile files, and round trips of hostile text. The first byte chooses.

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace {

using namespace dinfer;

void require(bool condition) {
  if (!condition) std::abort();
}

// Bytes as tokens, two merges, one special and one added token.
std::unique_ptr<Tokenizer> make_small() {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    std::string letter;
    append_as_letters(std::string(1, static_cast<char>(byte)), letter);
    vocabulary[letter] = byte;
  }
  vocabulary["ab"] = 256;
  vocabulary["abc"] = 257;
  const Json added = {{{"id", 258}, {"content", "<s>"}, {"special", true}},
                      {{"id", 259}, {"content", "<t>"}, {"special", false}}};
  const Json json = {
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b", "ab c"}}}},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"added_tokens", added}};
  return parse_tokenizer_json(json.dump(), "small.json", {});
}

// `same`: the pieces of a stream must give the whole text. They need not where a file's decoder
// rewrites the joined text (a Replace behind a Fuse), which no stream can follow.
void use(const Tokenizer& tokenizer, std::string_view text, bool same) {
  const TextSpan plain{text.size() / 3, text.size() / 2};
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.encode(
        text, {.add_special = special, .parse_special = special, .plain = {&plain, 1}});
    for (const int32_t id : ids) require(id >= 0 && id < tokenizer.vocab_size());
    const std::string all = to_valid_utf8(tokenizer.decode(ids, special));
    StreamDecoder decoder(tokenizer, special);
    std::string streamed;
    for (const int32_t id : ids) streamed += decoder.push(id);
    streamed += decoder.finish();
    require(is_valid_utf8(streamed));
    require(!same || streamed == all);
  }
}

void load_and_use(std::string_view json) {
  try {
    const auto tokenizer = parse_tokenizer_json(json, "fuzz.json", {});
    use(*tokenizer, "Hello \xe4\xb8\x96 <s>12  \n x\xff", false);
  } catch (const Error&) {
    // a file that is refused
  }
}

void round_trip(std::string_view text) {
  static const std::unique_ptr<Tokenizer> tokenizer = make_small();
  use(*tokenizer, text, true);
  const auto ids = tokenizer->encode(text, {.add_special = false});
  for (const int32_t id : ids) require(id != 258);
  require(tokenizer->decode(ids, false) == to_valid_utf8(text));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    load_and_use(rest);
  } else {
    round_trip(rest);
  }
  return 0;
}
