#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bootstrap/control_plane.h"

namespace dinfer {

// What the control planes of several ranks have in common: everything but their messages. Session:
// has world(), wait() (a PeerWait) and abort().
template <class Session>
class SessionControlPlane : public ControlPlane {
 public:
  explicit SessionControlPlane(std::shared_ptr<Session> session) : session_(std::move(session)) {}

  int rank() const override { return session_->world().rank; }
  int size() const override { return session_->world().size; }

  void set_phase(std::string phase) override { session_->wait().set_phase(std::move(phase)); }
  void note_progress() override { session_->wait().note_progress(); }
  std::string state() const override { return session_->wait().state(); }
  void check_peers() override { session_->wait().check_peers(); }

  [[noreturn]] void fail_late(const std::vector<int>& missing, std::chrono::duration<double> waited,
                              std::string_view what) override {
    session_->wait().fail_late(missing, waited, what);
  }
  [[noreturn]] void fail_diverged(int other, std::string_view theirs,
                                  std::string_view ours) override {
    session_->wait().fail_diverged(other, theirs, ours);
  }

  [[noreturn]] void abort(ExitCode code) override { session_->abort(code); }

 protected:
  std::shared_ptr<Session> session_;
};

}  // namespace dinfer
