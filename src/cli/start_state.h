#pragma once

#include <csignal>
#include <functional>
#include <string>
#include <thread>

#include "base/json.h"

namespace dinfer {

// SIGUSR2 is for StateFile alone: blocked from before there are threads or ranks on.
void reserve_state_signal();

// Answers SIGUSR2 by writing what this process is doing to a file, also while other threads are
// stuck. Its thread lives as long as it does.
class StateFile {
 public:
  // `describe` is called on the thread.
  StateFile(std::string path, std::function<OrderedJson()> describe);
  StateFile(const StateFile&) = delete;
  StateFile& operator=(const StateFile&) = delete;
  ~StateFile();

 private:
  void run(const std::stop_token& stop) const;
  void write() const;

  std::string path_;
  std::function<OrderedJson()> describe_;
  std::jthread thread_;
};

// Name, state and kernel function of each thread of this process; its memory; open descriptors.
OrderedJson describe_process();

}  // namespace dinfer
