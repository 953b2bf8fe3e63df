// Standard output as a pipe whose reader has paused when a signal comes.
#include "cli/output.h"

#include <array>
#include <csignal>
#include <future>
#include <string>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include "base/error.h"

namespace dinfer {
namespace {

using namespace std::chrono_literals;

class Output : public testing::Test {
 protected:
  void SetUp() override {
    fflush(stdout);
    saved_ = dup(STDOUT_FILENO);
    ASSERT_EQ(pipe(ends_.data()), 0);
    dup2(ends_[1], STDOUT_FILENO);
    struct sigaction action {};
    action.sa_handler = [](int) {};  // without SA_RESTART
    sigaction(SIGUSR1, &action, &before_);
  }

  void TearDown() override {
    sigaction(SIGUSR1, &before_, nullptr);
    dup2(saved_, STDOUT_FILENO);
    for (const int fd : {saved_, ends_[0], ends_[1]}) close(fd);
  }

  // Signals this thread again and again, as long as the result lives.
  std::jthread signals() {
    return std::jthread([writer = pthread_self()](std::stop_token stop) {
      while (!stop.stop_requested()) {
        pthread_kill(writer, SIGUSR1);
        std::this_thread::sleep_for(1ms);
      }
    });
  }

  // Reads `size` bytes, after a pause.
  std::future<std::string> read_late(size_t size) {
    return std::async(std::launch::async, [this, size] {
      std::this_thread::sleep_for(50ms);
      std::string text(size, '\0');
      size_t done = 0;
      while (done < size) {
        const ssize_t count = read(ends_[0], text.data() + done, size - done);
        if (count > 0) done += static_cast<size_t>(count);
        if (count == 0 || (count < 0 && errno != EINTR)) break;
      }
      text.resize(done);
      return text;
    });
  }

  std::array<int, 2> ends_{};

 private:
  int saved_ = -1;
  struct sigaction before_ {};
};

std::string long_text() {
  std::string text;
  for (int i = 0; text.size() < 300'000; ++i) text += std::to_string(i);  // more than a pipe holds
  return text;
}

TEST_F(Output, AllOfItArrivesThoughSignalsInterruptTheWrite) {
  const std::string text = long_text();
  auto arrived = read_late(text.size());
  {
    const std::jthread interrupting = signals();
    write_output(text);
  }
  EXPECT_EQ(arrived.get(), text);
}

TEST_F(Output, AllOfItArrivesThroughAPipeThatDoesNotWait) {
  const std::string text = long_text();
  fcntl(ends_[1], F_SETFL, O_NONBLOCK);
  auto arrived = read_late(text.size());
  write_output(text);
  EXPECT_EQ(arrived.get(), text);
}

TEST_F(Output, WhatIsNotTakenAtOnceIsNotWaitedFor) {
  const std::string text = long_text();
  const size_t taken = write_what_is_taken(text);
  EXPECT_GT(taken, 0u);
  EXPECT_LT(taken, text.size());
  EXPECT_EQ(write_what_is_taken(text), 0u) << "the pipe is full";
  std::string arrived(taken, '\0');
  EXPECT_EQ(read(ends_[0], arrived.data(), taken), static_cast<ssize_t>(taken));
  EXPECT_EQ(arrived, text.substr(0, taken));
}

TEST_F(Output, AClosedPipeIsAnError) {
  struct sigaction before {};
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, &before);
  close(ends_[0]);
  EXPECT_THROW(write_output("lost"), Error);
  sigaction(SIGPIPE, &before, nullptr);
}

}  // namespace
}  // namespace dinfer
