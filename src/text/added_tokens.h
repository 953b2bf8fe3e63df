#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/normalizer.h"
#include "text/tokenizer.h"

namespace dinfer {

// A token that is looked for in the text itself, before the model sees it.
struct AddedToken {
  int32_t id = 0;
  std::string text;          // as it is written
  std::string decoded;       // what the id stands for: AddedTokens sets it
  bool special = false;      // recognised only with EncodeOptions::parse_special
  bool normalized = false;   // looked for after normalisation
  bool strip_left = false;   // takes in the white space before it
  bool strip_right = false;  // ... and behind it
  bool single_word = false;  // only where no word character touches it
};

// A part of a text: an added token, or text between such tokens (id -1).
struct Segment {
  int32_t id = -1;
  TextSpan span;
};

// Finds added tokens: at each place the longest, going from left to right.
class AddedTokens {
 public:
  AddedTokens() = default;
  // Normalised tokens are looked for as the normalizers leave them, and decoded so.
  AddedTokens(std::vector<AddedToken> tokens, const Normalizers& normalizers);

  const std::vector<AddedToken>& all() const { return tokens_; }
  const AddedToken* find(int32_t id) const;  // nullptr: not an added token
  bool has_normalized() const { return !normalized_.empty(); }

  // Cuts a text as it was given. Special tokens that are normalised count too when `options` marks
  // plain spans: these are places in this text, which normalisation would lose.
  std::vector<Segment> cut(std::string_view text, const EncodeOptions& options) const;
  // Cuts a text that has been normalised.
  std::vector<Segment> cut_normalized(std::string_view text, const EncodeOptions& options) const;

 private:
  // Texts to look for, as a tree of bytes.
  class Tree {
   public:
    bool empty() const { return nodes_.size() == 1; }
    void insert(std::string_view text, int32_t token);
    // Index of the longest token that starts at `at`, and its length; -1: none.
    std::pair<int32_t, size_t> longest(std::string_view text, size_t at) const;

   private:
    struct Node {
      std::vector<std::pair<uint8_t, uint32_t>> next;  // sorted by byte
      int32_t token = -1;
    };
    std::vector<Node> nodes_{1};
  };

  template <class Recognised>
  std::vector<Segment> cut_by(const Tree& tree, std::string_view text,
                              const Recognised& recognised) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;
  Tree raw_;         // tokens that are not normalised, and special ones
  Tree normalized_;  // all others, and special ones that are normalised
};

}  // namespace dinfer
