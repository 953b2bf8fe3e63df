#include "cli/start_progress.h"

#include <unistd.h>

#include <string>

#include <fmt/format.h>

#include "base/log.h"

namespace dinfer {

namespace {

constexpr int kBarWidth = 32;
constexpr std::chrono::milliseconds kRedraw{100};

double gigabytes(uint64_t bytes) { return static_cast<double>(bytes) / 1e9; }

}  // namespace

LoadReport::LoadReport()
    : terminal_(isatty(STDERR_FILENO) == 1), begin_(Clock::now()), drawn_(begin_) {}

void LoadReport::update(uint64_t done, uint64_t total) {
  total_ = total;
  const auto now = Clock::now();
  if (!terminal_ || now - drawn_ < kRedraw) return;
  drawn_ = now;
  const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  std::string bar(static_cast<size_t>(share * kBarWidth), '=');
  bar.resize(kBarWidth, ' ');
  log::print(fmt::format("\rloading [{}] {:3.0f}%  {:.2f} of {:.2f} GB, {:.1f} GB/s ", bar,
                         share * 100, gigabytes(done), gigabytes(total),
                         gigabytes(done) / seconds));
}

void LoadReport::finish() {
  if (terminal_) log::print("\r\x1b[K");  // erases the bar
  const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  log::info("loaded {:.2f} GB in {:.2f} s ({:.1f} GB/s)", gigabytes(total_), seconds,
            seconds > 0 ? gigabytes(total_) / seconds : 0.0);
}

}  // namespace dinfer
