#include "text/added_tokens.h"

#include <algorithm>

#include <utf8proc.h>

#include "text/utf8.h"

namespace dinfer {
namespace {

// What is to become of a match.
enum class Verdict {
  take,
  pass_over,  // stays text, and so does all that it covers
  retry       // stays text; another token may start inside it
};

// Unicode's word characters: letters, marks, decimal and letter numbers, connectors, joiners.
bool is_word_character(uint32_t code) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
         category == UTF8PROC_CATEGORY_PC || code == 0x200c || code == 0x200d;
}

// The character that ends at `end` > 0, in valid UTF-8.
Character character_before(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) --at;
  return read_character(text, at);
}

bool stands_alone(std::string_view text, const TextSpan& match) {
  const bool left =
      match.begin == 0 || !is_word_character(character_before(text, match.begin).code);
  const bool right =
      match.end == text.size() || !is_word_character(read_character(text, match.end).code);
  return left && right;
}

size_t skip_white_space(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Character character = read_character(text, at);
    if (!is_white_space(character.code)) break;
    at += character.bytes;
  }
  return at;
}

size_t skip_white_space_back(std::string_view text, size_t end, size_t limit) {
  while (end > limit) {
    const Character character = character_before(text, end);
    if (!is_white_space(character.code)) break;
    end -= character.bytes;
  }
  return std::max(end, limit);
}

bool overlaps(std::span<const TextSpan> spans, const TextSpan& match) {
  auto span = std::partition_point(spans.begin(), spans.end(),
                                   [&](const TextSpan& span) { return span.end <= match.begin; });
  for (; span != spans.end() && span->begin < match.end; ++span) {
    if (span->begin < span->end) return true;
  }
  return false;
}

}  // namespace

void AddedTokens::Tree::insert(std::string_view text, int32_t token) {
  uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    auto& next = nodes_[node].next;
    const auto at = std::lower_bound(next.begin(), next.end(), std::pair{byte, uint32_t{0}});
    if (at != next.end() && at->first == byte) {
      node = at->second;
      continue;
    }
    const auto fresh = static_cast<uint32_t>(nodes_.size());
    next.insert(at, {byte, fresh});
    nodes_.emplace_back();
    node = fresh;
  }
  nodes_[node].token = token;
}

std::pair<int32_t, size_t> AddedTokens::Tree::longest(std::string_view text, size_t at) const {
  std::pair<int32_t, size_t> best{-1, 0};
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    const auto& next = nodes_[node].next;
    const auto found = std::lower_bound(next.begin(), next.end(), std::pair{byte, uint32_t{0}});
    if (found == next.end() || found->first != byte) break;
    node = found->second;
    if (nodes_[node].token >= 0) best = {nodes_[node].token, i + 1 - at};
  }
  return best;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizers& normalizers)
    : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    AddedToken& token = tokens_[i];
    token.decoded = token.text;
    by_id_.emplace(token.id, i);
    if (token.text.empty()) continue;
    if (!token.normalized || token.special) raw_.insert(token.text, static_cast<int32_t>(i));
    if (!token.normalized) continue;
    normalize(normalizers, token.decoded);
    if (!token.decoded.empty()) normalized_.insert(token.decoded, static_cast<int32_t>(i));
  }
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

template <class Recognised>
std::vector<Segment> AddedTokens::cut_by(const Tree& tree, std::string_view text,
                                         const Recognised& recognised) const {
  std::vector<Segment> segments;
  size_t done = 0;  // all before is in segments
  for (size_t at = 0; at < text.size() && !tree.empty();) {
    const auto [index, size] = tree.longest(text, at);
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    TextSpan span{at, at + size};
    const Verdict verdict = recognised(token, span);
    at = verdict == Verdict::retry ? at + 1 : span.end;
    if (verdict != Verdict::take || (token.single_word && !stands_alone(text, span))) continue;
    if (span.begin < done) continue;  // white space that the token before has taken in
    if (token.strip_left) span.begin = skip_white_space_back(text, span.begin, done);
    if (token.strip_right) span.end = skip_white_space(text, span.end);
    if (span.begin > done) segments.push_back({-1, {done, span.begin}});
    segments.push_back({token.id, span});
    done = span.end;
  }
  if (done < text.size()) segments.push_back({-1, {done, text.size()}});
  return segments;
}

std::vector<Segment> AddedTokens::cut(std::string_view text, const EncodeOptions& options) const {
  return cut_by(raw_, text, [&](const AddedToken& token, const TextSpan& match) {
    if (!token.special) return Verdict::take;
    const bool spans = options.parse_special && !options.plain.empty();
    if (token.normalized && !spans) return Verdict::retry;  // cut_normalized() looks for it
    if (!options.parse_special) return Verdict::pass_over;
    return overlaps(options.plain, match) ? Verdict::retry : Verdict::take;
  });
}

std::vector<Segment> AddedTokens::cut_normalized(std::string_view text,
                                                 const EncodeOptions& options) const {
  return cut_by(normalized_, text, [&](const AddedToken& token, const TextSpan&) {
    const bool recognised = !token.special || (options.parse_special && options.plain.empty());
    return recognised ? Verdict::take : Verdict::pass_over;
  });
}

}  // namespace dinfer
