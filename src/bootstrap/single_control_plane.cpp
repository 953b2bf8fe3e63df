#include "bootstrap/single_control_plane.h"

#include <unistd.h>

#include <cstdio>

#include "base/log.h"

namespace dinfer {
namespace {

class SingleControlPlane final : public ControlPlane {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void broadcast(Bytes&, Deadline) override {}
  std::vector<Bytes> all_gather(const Bytes& message, Deadline) override { return {message}; }
  void barrier(Deadline) override {}

  [[noreturn]] void fail_late(const std::vector<int>&, std::chrono::duration<double>,
                              std::string_view what) override {
    throw Bug(fmt::format("a single rank waited for peers in {}", what));
  }
  [[noreturn]] void fail_diverged(int, std::string_view, std::string_view ours) override {
    throw Bug(fmt::format("a single rank differs from peers in {}", ours));
  }

  [[noreturn]] void abort(ExitCode code) override {
    log::end();
    std::fflush(nullptr);
    _exit(static_cast<int>(code));
  }
};

}  // namespace

std::unique_ptr<ControlPlane> make_single_control_plane() {
  return std::make_unique<SingleControlPlane>();
}

}  // namespace dinfer
