#include "text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "base/error.h"
#include "text/utf8.h"

namespace dinfer {
namespace {

// Steps and memory one match may take. A run of a million spaces needs one step for each.
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;
constexpr size_t kJitStackBytes = 1024 * 1024;
constexpr size_t kPatternBytes = 64 * 1024;

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Pattern::Code {
  explicit Code(pcre2_code* compiled) : code(compiled) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  pcre2_code* code;
};

Pattern Pattern::literal(std::string text) { return Pattern(std::move(text)); }

Pattern Pattern::regex(std::string_view source, std::string_view where) {
  if (source.size() > kPatternBytes) {
    fail(ExitCode::model_files, "{}: a pattern of {} bytes is longer than the limit of {}", where,
         source.size(), kPatternBytes);
  }
  const std::string translated = pcre_from_oniguruma(source, where);
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE at = 0;
  // In Ruby's syntax ^ and $ always match at line ends: PCRE2_MULTILINE.
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &at,
                    context.get());
  if (code == nullptr) {
    fail(ExitCode::model_files, "{}: the pattern {} is not supported: {} at byte {} of {}", where,
         source, message_of(error), at, translated);
  }
  Pattern pattern{std::string()};
  pattern.code_ = std::make_shared<Code>(code);
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without JIT the interpreter matches the same
  return pattern;
}

struct Pattern::Finder::Scratch {
  explicit Scratch(const pcre2_code* code)
      : match(pcre2_match_data_create_from_pattern(code, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr)) {
    check(match != nullptr && context != nullptr, "PCRE2 has no memory");
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_depth_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Scratch() {
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  pcre2_match_data* match;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

Pattern::Finder::Finder(const Pattern& pattern) : pattern_(pattern) {
  if (pattern.code_ != nullptr) scratch_ = std::make_unique<Scratch>(pattern.code_->code);
}

Pattern::Finder::~Finder() = default;

bool Pattern::Finder::search(std::string_view text, size_t from, TextSpan& match) {
  if (scratch_ == nullptr) {
    if (pattern_.literal_.empty()) return false;
    const size_t at = text.find(pattern_.literal_, from);
    if (at == std::string_view::npos) return false;
    match = {at, at + pattern_.literal_.size()};
    return true;
  }
  const int found =
      pcre2_match(pattern_.code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                  from, PCRE2_NO_UTF_CHECK, scratch_->match, scratch_->context);
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) {
    fail(ExitCode::usage, "the tokenizer's pattern cannot split this text of {} bytes: {}",
         text.size(), message_of(found));
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(scratch_->match);
  match = {range[0], range[1]};
  return match.begin <= match.end && match.begin >= from;  // not so where \K stands in a lookahead
}

void Pattern::Finder::find_all(std::string_view text, std::vector<TextSpan>& matches) {
  size_t from = 0;
  bool had_match = false;
  size_t last_end = 0;
  TextSpan match;
  while (from <= text.size() && search(text, from, match)) {
    const bool empty = match.begin == match.end;
    from = match.end;
    if (empty) from += match.end < text.size() ? read_character(text, match.end).bytes : 1;
    if (empty && had_match && match.end == last_end) continue;  // right behind the last match
    matches.push_back(match);
    had_match = true;
    last_end = match.end;
  }
}

}  // namespace dinfer
