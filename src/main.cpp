#include <cstdlib>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "bootstrap/launcher.h"
#include "cli/parse.h"

namespace {

using namespace dinfer;

// " [rank 3]" where a launcher or our own supervisor started several ranks, also before any
// bootstrap.
std::string rank_tag() {
  if (const char* rank = std::getenv("DINFER_RANK")) return fmt::format(" [rank {}]", rank);
  if (detect_launcher([](const char* name) { return std::getenv(name); }).ranks <= 1) return "";
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(variable)) return fmt::format(" [rank {}]", rank);
  }
  return "";
}

int report(ExitCode code, std::string_view kind, std::string_view message) {
  log::print(fmt::format("dinfer:{} {}: {}\n", rank_tag(), kind, message));
  return static_cast<int>(code);
}

int report_unforeseen(const std::exception& e) {
  return report(ExitCode::bug, "internal error, please report it", e.what());
}

int dispatch(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  std::vector<std::string_view> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);

  const Invocation invocation = parse_arguments(arguments, environment);
  for (const std::string& warning : invocation.warnings) {
    log::print(fmt::format("dinfer:{} warning: {}\n", rank_tag(), warning));
  }
  configure_log(invocation.options.log, 0, 1);
  return invocation.command->run(invocation.options);
}

// A file or connection that is opened later must not get the number of a standard stream that the
// caller has closed: it would be read as the prompt, or written to. Opened the wrong way round, the
// stream still refuses to be used.
void occupy_closed_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) < 0) open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace

int main(int argc, char** argv) {
  occupy_closed_streams();
  try {
    return dispatch(argc, argv);
  } catch (const Error& e) {
    return report(e.code(), "error", e.what());
  } catch (const std::bad_alloc&) {
    return report(ExitCode::does_not_fit, "error", "out of memory");
  } catch (const std::system_error& e) {
    if (e.code() != std::errc::resource_unavailable_try_again) return report_unforeseen(e);
    return report(ExitCode::config, "error",
                  "the system starts no more threads: raise the limit of processes (ulimit -u, or "
                  "that of the container)");
  } catch (const std::exception& e) {
    return report_unforeseen(e);
  }
}
