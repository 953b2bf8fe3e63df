#include "bootstrap/exit_timer.h"

#include <unistd.h>

#include "base/log.h"

namespace dinfer {

ExitTimer::ExitTimer(std::chrono::duration<double> limit, ExitCode code, std::string message)
    : thread_([this, limit, code, message = std::move(message)] {
        std::unique_lock lock(mutex_);
        if (stop_.wait_for(lock, limit, [this] { return stopped_; })) return;
        if (!message.empty()) log::error("{}", message);
        log::flush();
        _exit(static_cast<int>(code));
      }) {}

ExitTimer::~ExitTimer() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  stop_.notify_one();
  thread_.join();
}

}  // namespace dinfer
