#include <array>

#include "base/error.h"
#include "text/merge_table.h"
#include "text/symbol_list.h"
#include "text/token_model.h"
#include "text/utf8.h"

namespace dinfer {
namespace {

class Bpe final : public TokenModel {
 public:
  Bpe(Vocabulary vocabulary, const std::vector<Merge>& merges, const BpeOptions& options)
      : vocabulary_(std::move(vocabulary)), merges_(merges.size()), options_(options) {
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const Merge& merge = merges[rank];
      merges_.insert(merge.left, merge.right, static_cast<uint32_t>(rank), merge.merged);
    }
    for (uint32_t code = 0; code < letters_.size(); ++code) {
      std::string text;
      append_character(text, code);
      letters_[code] = vocabulary_.find(text);
    }
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }

  void encode(const Pieces& pieces, std::vector<int32_t>& ids) const override {
    SymbolList symbols;
    std::vector<MergeCandidate> heap;
    const auto find = [this](const Symbol& left,
                             const Symbol& right) -> std::optional<MergeCandidate> {
      const MergeTable::Entry* entry = merges_.find(left.id, right.id);
      if (entry == nullptr) return std::nullopt;
      return MergeCandidate{static_cast<double>(entry->rank), 0, entry->merged};
    };
    for (const TextSpan& span : pieces.spans) {
      const std::string_view piece = pieces.view(span);
      if (options_.ignore_merges) {
        const int32_t whole = vocabulary_.find(piece);
        if (whole >= 0) {
          ids.push_back(whole);
          continue;
        }
      }
      symbols.clear();
      push_characters(piece, symbols);
      if (symbols.size() == 0) continue;
      merge_all(symbols, heap, find);
      for (int32_t at = 0; at >= 0; at = symbols[at].next) ids.push_back(symbols[at].id);
    }
  }

 private:
  int32_t find_character(std::string_view text, const Character& character) const {
    return character.code < letters_.size() ? letters_[character.code] : vocabulary_.find(text);
  }

  void push_characters(std::string_view piece, SymbolList& symbols) const {
    uint32_t unknown_bytes = 0;  // of characters without a token, not pushed yet
    uint32_t at = 0;
    const auto flush = [&] {
      if (unknown_bytes > 0) symbols.push(options_.unknown, at - unknown_bytes, unknown_bytes);
      unknown_bytes = 0;
    };
    while (at < piece.size()) {
      const Character character = read_character(piece, at);
      const std::string_view text = piece.substr(at, character.bytes);
      const int32_t id = find_character(text, character);
      if (id >= 0) {
        flush();
        symbols.push(id, at, character.bytes);
      } else if (options_.byte_fallback && has_bytes(text)) {
        flush();
        for (uint32_t i = 0; i < character.bytes; ++i) {
          symbols.push(vocabulary_.find_byte(static_cast<uint8_t>(text[i])), at + i, 1);
        }
      } else if (options_.unknown >= 0) {
        if (!options_.fuse_unknown) flush();
        unknown_bytes += character.bytes;
      }
      at += character.bytes;
    }
    flush();
  }

  bool has_bytes(std::string_view text) const {
    return std::all_of(text.begin(), text.end(), [this](char byte) {
      return vocabulary_.find_byte(static_cast<uint8_t>(byte)) >= 0;
    });
  }

  Vocabulary vocabulary_;
  MergeTable merges_;
  BpeOptions options_;
  std::array<int32_t, 0x800> letters_{};  // ids of the characters of one or two bytes
};

}  // namespace

std::unique_ptr<TokenModel> make_bpe(Vocabulary vocabulary, const std::vector<Merge>& merges,
                                     const BpeOptions& options) {
  return std::make_unique<Bpe>(std::move(vocabulary), merges, options);
}

}  // namespace dinfer
