#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace dinfer {

struct LogOptions {
  std::string level = "info";   // trace, debug, info, warning, error, off
  std::string format = "text";  // text, json
  std::string directory;        // not empty: also a file a rank there
};

// Sets up the process's log: stderr (INFO from rank 0 only, WARNING and above from all ranks), each
// line tagged with the rank when there are several. Call once ranks are known; before that call the
// log prints untagged.
void configure_log(const LogOptions& options, int rank, int ranks);

// What is said, by how much it matters. Text is made here and spdlog is seen in log.cpp only: its
// templates would bring a formatter of their own into each file that logs.
namespace log {

enum class Level { debug, info, warn, error };

bool enabled(Level level);
void write(Level level, std::string_view text);
void flush();
// What is for people alone, to standard error as it is: where that takes nothing, it is lost.
void print(std::string_view text);
// Flushes, and ends what writes in the background. Nothing may be logged any more.
void end();

template <class... Args>
void say(Level level, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(level)) write(level, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  say(Level::debug, format, std::forward<Args>(args)...);
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  say(Level::info, format, std::forward<Args>(args)...);
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  say(Level::warn, format, std::forward<Args>(args)...);
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  say(Level::error, format, std::forward<Args>(args)...);
}

}  // namespace log

}  // namespace dinfer
