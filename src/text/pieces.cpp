#include "text/pieces.h"

#include "text/utf8.h"

namespace dinfer {
namespace {

struct Cut {
  TextSpan span;
  bool match = false;
};

// Matches and what lies between them, covering `piece` from end to end.
void cover(size_t size, const std::vector<TextSpan>& matches, bool invert, std::vector<Cut>& cuts) {
  cuts.clear();
  size_t at = 0;
  for (const TextSpan& match : matches) {
    if (match.begin > at) cuts.push_back({{at, match.begin}, invert});
    cuts.push_back({match, !invert});
    at = match.end;
  }
  if (at < size) cuts.push_back({{at, size}, invert});
}

void merge_with_previous(std::vector<Cut>& cuts) {
  size_t kept = 0;
  bool after_match = false;
  for (const Cut cut : cuts) {
    if (cut.match && !after_match && kept > 0) {
      cuts[kept - 1].span.end = cut.span.end;
    } else {
      cuts[kept++] = cut;
    }
    after_match = cut.match;
  }
  cuts.resize(kept);
}

void merge_with_next(std::vector<Cut>& cuts) {
  size_t kept = cuts.size();
  bool before_match = false;
  for (size_t i = cuts.size(); i-- > 0;) {
    const Cut cut = cuts[i];
    if (cut.match && !before_match && kept < cuts.size()) {
      cuts[kept].span.begin = cut.span.begin;
    } else {
      cuts[--kept] = cut;
    }
    before_match = cut.match;
  }
  cuts.erase(cuts.begin(), cuts.begin() + static_cast<std::ptrdiff_t>(kept));
}

void merge_alike(std::vector<Cut>& cuts) {
  size_t kept = 0;
  for (const Cut cut : cuts) {
    if (kept > 0 && cuts[kept - 1].match == cut.match) {
      cuts[kept - 1].span.end = cut.span.end;
    } else {
      cuts[kept++] = cut;
    }
  }
  cuts.resize(kept);
}

void apply_behavior(std::vector<Cut>& cuts, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::removed:
      std::erase_if(cuts, [](const Cut& cut) { return cut.match; });
      break;
    case SplitBehavior::isolated:
      break;
    case SplitBehavior::merged_with_previous:
      merge_with_previous(cuts);
      break;
    case SplitBehavior::merged_with_next:
      merge_with_next(cuts);
      break;
    case SplitBehavior::contiguous:
      merge_alike(cuts);
      break;
  }
}

}  // namespace

void split(Pieces& pieces, const FindMatches& find, SplitBehavior behavior, bool invert) {
  std::vector<TextSpan> result;
  std::vector<TextSpan> matches;
  std::vector<Cut> cuts;
  for (const TextSpan& piece : pieces.spans) {
    matches.clear();
    find(pieces.view(piece), matches);
    cover(piece.end - piece.begin, matches, invert, cuts);
    apply_behavior(cuts, behavior);
    for (const Cut& cut : cuts) {
      if (cut.span.begin == cut.span.end) continue;
      result.push_back({piece.begin + cut.span.begin, piece.begin + cut.span.end});
    }
  }
  if (result.empty() || result.front().begin != pieces.spans.front().begin) pieces.at_start = false;
  pieces.spans = std::move(result);
}

void rewrite(Pieces& pieces, const Rewrite& write) {
  std::string text;
  text.reserve(pieces.text.size() + pieces.text.size() / 2);
  std::vector<TextSpan> spans;
  spans.reserve(pieces.spans.size());
  bool first = pieces.at_start;
  for (const TextSpan& piece : pieces.spans) {
    const size_t begin = text.size();
    write(pieces.view(piece), first, text);
    if (text.size() > begin) spans.push_back({begin, text.size()});
    first = false;
  }
  pieces.text = std::move(text);
  pieces.spans = std::move(spans);
}

FindMatches each_character(std::function<bool(uint32_t)> belongs) {
  return [belongs = std::move(belongs)](std::string_view text, std::vector<TextSpan>& matches) {
    for (size_t at = 0; at < text.size();) {
      const Character character = read_character(text, at);
      if (belongs(character.code)) matches.push_back({at, at + character.bytes});
      at += character.bytes;
    }
  };
}

}  // namespace dinfer
