#include "base/error.h"
#include "text/symbol_list.h"
#include "text/token_model.h"
#include "text/utf8.h"

namespace dinfer {
namespace {

class ScoredBpe final : public TokenModel {
 public:
  ScoredBpe(Vocabulary vocabulary, std::vector<float> scores, int32_t unknown)
      : vocabulary_(std::move(vocabulary)), scores_(std::move(scores)), unknown_(unknown) {
    check(scores_.size() == static_cast<size_t>(vocabulary_.size()), "a score for each token");
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }

  void encode(const Pieces& pieces, std::vector<int32_t>& ids) const override {
    SymbolList symbols;
    std::vector<MergeCandidate> heap;
    for (const TextSpan& span : pieces.spans) {
      const std::string_view piece = pieces.view(span);
      symbols.clear();
      for (uint32_t at = 0; at < piece.size();) {
        const Character character = read_character(piece, at);
        symbols.push(vocabulary_.find(piece.substr(at, character.bytes)), at, character.bytes);
        at += character.bytes;
      }
      if (symbols.size() == 0) continue;
      merge_all(symbols, heap,
                [&](const Symbol& left, const Symbol& right) { return find(piece, left, right); });
      for (int32_t at = 0; at >= 0; at = symbols[at].next) push(piece, symbols[at], ids);
    }
  }

 private:
  std::optional<MergeCandidate> find(std::string_view piece, const Symbol& left,
                                     const Symbol& right) const {
    const size_t bytes = size_t{left.bytes} + right.bytes;
    if (bytes > vocabulary_.longest()) return std::nullopt;
    const int32_t merged = vocabulary_.find(piece.substr(left.begin, bytes));
    if (merged < 0) return std::nullopt;
    return MergeCandidate{-static_cast<double>(scores_[static_cast<size_t>(merged)]), 0, merged};
  }

  // A character without a token is spelled in byte tokens.
  void push(std::string_view piece, const Symbol& symbol, std::vector<int32_t>& ids) const {
    if (symbol.id >= 0) {
      ids.push_back(symbol.id);
      return;
    }
    for (uint32_t i = 0; i < symbol.bytes; ++i) {
      const int32_t byte = vocabulary_.find_byte(static_cast<uint8_t>(piece[symbol.begin + i]));
      const int32_t id = byte >= 0 ? byte : unknown_;
      if (id >= 0) ids.push_back(id);
    }
  }

  Vocabulary vocabulary_;
  std::vector<float> scores_;
  int32_t unknown_;
};

}  // namespace

std::unique_ptr<TokenModel> make_scored_bpe(Vocabulary vocabulary, std::vector<float> scores,
                                            int32_t unknown) {
  return std::make_unique<ScoredBpe>(std::move(vocabulary), std::move(scores), unknown);
}

}  // namespace dinfer
