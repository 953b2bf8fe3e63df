#pragma once

#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace dinfer {

// Why the process ends. Values are part of the command-line contract (docs/EXIT_CODES.md).
enum class ExitCode : int {
  ok = 0,
  bug = 1,             // a broken invariant: always a defect of dinfer
  usage = 2,           // unknown option, malformed value
  config = 3,          // a layout or setting that cannot work, or ranks that disagree
  model_files = 4,     // missing, truncated, inconsistent or unsupported model files
  does_not_fit = 5,    // not enough memory
  device = 6,          // device, driver or NCCL unusable
  peer = 7,            // another rank died or stalled
  failed_items = 8,    // batch ended with failed items; verify or bench regressed
  address_in_use = 9,
  doctor_findings = 10,
  resumable = 75,      // stopped before a time limit
  interrupted = 130,   // SIGINT
  terminated = 143,    // SIGTERM
};

// An operating error: the user, a file, a peer or the machine is the cause, and the message says
// what, where (file, rank, host, flag), the values, and the fix. main() prints it as one line and
// ends with `code`.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// A broken invariant of dinfer itself. Never thrown because of input.
class Bug : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

template <class... Args>
[[noreturn]] void fail(ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// Throws Bug with the place of the call when `condition` is false.
inline void check(bool condition, std::string_view what,
                  std::source_location at = std::source_location::current()) {
  if (!condition) throw Bug(fmt::format("{}:{}: {}", at.file_name(), at.line(), what));
}

}  // namespace dinfer
