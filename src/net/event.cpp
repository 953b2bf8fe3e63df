#include "net/event.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace dinfer {

Event::Event() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!descriptor_)
    fail(ExitCode::config, "eventfd: {}: see `ulimit -n`", std::generic_category().message(errno));
}

void Event::raise() const {
  const uint64_t one = 1;
  check(write(fd(), &one, sizeof one) == sizeof one, "an eventfd takes a count");
}

void Event::lower() const {
  uint64_t count = 0;
  if (read(fd(), &count, sizeof count) < 0) return;  // it was not raised
}

}  // namespace dinfer
