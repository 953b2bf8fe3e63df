#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "text/pieces.h"
#include "text/vocabulary.h"

namespace dinfer {

// Turns pieces of text into ids of a vocabulary.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  virtual void encode(const Pieces& pieces, std::vector<int32_t>& ids) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
};

// Two tokens that may become one.
struct Merge {
  int32_t left;
  int32_t right;
  int32_t merged;
};

struct BpeOptions {
  bool byte_fallback = false;  // characters without a token become tokens <0xHH>
  bool ignore_merges = false;  // a piece that is a token as it is stays whole
  int32_t unknown = -1;        // for characters without a token; -1: they are left out
  bool fuse_unknown = false;   // several such characters in a row become one token
};

// Byte-pair encoding: `merges` in order of priority, at most 2^32 - 1 of them.
std::unique_ptr<TokenModel> make_bpe(Vocabulary vocabulary, const std::vector<Merge>& merges,
                                     const BpeOptions& options);

// SentencePiece's BPE: any two neighbours may merge whose joined text is a token, the one with the
// highest score first. `scores` by id. `unknown` as above, used where byte tokens are missing.
std::unique_ptr<TokenModel> make_scored_bpe(Vocabulary vocabulary, std::vector<float> scores,
                                            int32_t unknown);

}  // namespace dinfer
