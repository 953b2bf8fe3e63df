#pragma once

#include <gtest/gtest.h>

#include <iostream>
#include <string>

namespace dinfer::test {

// What ranks other than 0 print: failures only. GoogleTest holds its lock while it tells of one: to
// ask it for the name of the test then would wait for that lock for ever.
class FailurePrinter : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}

  void OnTestStart(const testing::TestInfo& test) override { test_ = test.name(); }

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::cerr << "rank " << rank_ << ": " << test_ << ": "
              << (result.file_name() ? result.file_name() : "") << ":" << result.line_number()
              << ": " << result.summary() << std::endl;
  }

 private:
  int rank_;
  std::string test_ = "set-up";
};

inline void print_failures_only_unless_head(int rank) {
  if (rank == 0) return;
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new FailurePrinter(rank));
}

}  // namespace dinfer::test
