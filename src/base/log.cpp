#include "base/log.h"

#include <filesystem>
#include <memory>
#include <vector>

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include "base/error.h"

namespace dinfer {

namespace {

std::string pattern(const std::string& format, int rank, int ranks) {
  if (format == "json") {
    return fmt::format(R"({{"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","rank":{},"message":"%v"}})", rank);
  }
  return ranks > 1 ? fmt::format("%^%L%$ [rank {}] %v", rank) : "%v";
}

}  // namespace

void configure_log(const LogOptions& options, int rank, int ranks) {
  const auto level = spdlog::level::from_str(options.level);
  if (level == spdlog::level::off && options.level != "off") {
    fail(ExitCode::usage, "--log-level {}: choose trace, debug, info, warning, error or off", options.level);
  }
  auto console = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  if (rank != 0) console->set_level(std::max(level, spdlog::level::warn));
  std::vector<spdlog::sink_ptr> sinks{console};
  if (!options.directory.empty()) {
    std::filesystem::create_directories(options.directory);
    sinks.push_back(std::make_shared<spdlog::sinks::basic_file_sink_mt>(
        fmt::format("{}/rank-{}.log", options.directory, rank)));
  }
  auto logger = std::make_shared<spdlog::logger>("dinfer", sinks.begin(), sinks.end());
  logger->set_level(level);
  logger->set_pattern(pattern(options.format, rank, ranks));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace dinfer
