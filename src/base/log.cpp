#include "base/log.h"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <vector>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/json.h"

namespace dinfer {

namespace {

// One JSON object a line. A pattern cannot do this: it would not escape the message.
class JsonFormatter : public spdlog::formatter {
 public:
  explicit JsonFormatter(int rank) : rank_(rank) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    spdlog::memory_buf_t time;
    time_.format(message, time);
    const auto level = spdlog::level::to_string_view(message.level);
    const OrderedJson line{
        {"time", std::string_view(time.data(), time.size())},
        {"level", std::string_view(level.data(), level.size())},
        {"rank", rank_},
        {"message", std::string_view(message.payload.data(), message.payload.size())}};
    const std::string text = line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
    out.append(text.data(), text.data() + text.size());
    out.push_back('\n');
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>(rank_);
  }

 private:
  int rank_;
  spdlog::pattern_formatter time_{"%Y-%m-%dT%H:%M:%S.%e%z", spdlog::pattern_time_type::local, ""};
};

spdlog::level::level_enum level_of(log::Level level) {
  switch (level) {
    case log::Level::debug:
      return spdlog::level::debug;
    case log::Level::info:
      return spdlog::level::info;
    case log::Level::warn:
      return spdlog::level::warn;
    case log::Level::error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

std::unique_ptr<spdlog::formatter> make_formatter(const std::string& format, int rank, int ranks) {
  if (format == "json") return std::make_unique<JsonFormatter>(rank);
  return std::make_unique<spdlog::pattern_formatter>(
      ranks > 1 ? fmt::format("%^%L%$ [rank {}] %v", rank) : "%v");
}

spdlog::sink_ptr file_sink(const std::string& directory, int rank) {
  try {
    std::filesystem::create_directories(directory);
    return std::make_shared<spdlog::sinks::basic_file_sink_mt>(
        fmt::format("{}/rank-{}.log", directory, rank));
  } catch (const std::exception& e) {  // std::filesystem_error, spdlog_ex
    fail(ExitCode::config, "--log-dir {}: cannot write there: {}", directory, e.what());
  }
}

}  // namespace

void configure_log(const LogOptions& options, int rank, int ranks) {
  const auto level = spdlog::level::from_str(options.level);
  if (level == spdlog::level::off && options.level != "off") {
    fail(ExitCode::usage, "--log-level {}: choose trace, debug, info, warning, error or off",
         options.level);
  }
  auto console = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  if (rank != 0) console->set_level(std::max(level, spdlog::level::warn));
  std::vector<spdlog::sink_ptr> sinks{console};
  if (!options.directory.empty()) sinks.push_back(file_sink(options.directory, rank));
  auto logger = std::make_shared<spdlog::logger>("dinfer", sinks.begin(), sinks.end());
  logger->set_level(level);
  logger->set_formatter(make_formatter(options.format, rank, ranks));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

namespace log {

bool enabled(Level level) { return spdlog::should_log(level_of(level)); }

void write(Level level, std::string_view text) {
  spdlog::default_logger_raw()->log(level_of(level),
                                    spdlog::string_view_t(text.data(), text.size()));
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void flush() { spdlog::default_logger_raw()->flush(); }

void end() { spdlog::shutdown(); }

}  // namespace log

}  // namespace dinfer
