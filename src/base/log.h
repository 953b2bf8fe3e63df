#pragma once

#include <string_view>

#include <spdlog/spdlog.h>

namespace dinfer {

struct LogOptions {
  std::string level = "info";    // trace, debug, info, warning, error, off
  std::string format = "text";   // text, json
  std::string directory;         // not empty: also a file a rank there
};

// Sets up the process's log: stderr (INFO from rank 0 only, WARNING and above from all ranks), each
// line tagged with the rank when there are several. Call once ranks are known; before that call the
// log prints untagged. Use spdlog::info(...) and so on everywhere.
void configure_log(const LogOptions& options, int rank, int ranks);

}  // namespace dinfer
