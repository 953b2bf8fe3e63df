#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace dinfer {

// Seconds since 1970 for strftime_now in chat templates: SOURCE_DATE_EPOCH where it is set (a value
// that is no number is an Error(usage)), the present time otherwise.
int64_t template_time();

// The conversation in the model's own form. `source` is the template (an empty one is an
// Error(usage): the model has none); special_texts and now are filled in here.
RenderedChat render_chat(const std::string& source, const Tokenizer& tokenizer,
                         ChatTemplate::Input input);

// Ids of a rendered conversation: special tokens where the template wrote them, never from the
// data.
std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat);

}  // namespace dinfer
