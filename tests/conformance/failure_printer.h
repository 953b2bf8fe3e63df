#pragma once

#include <gtest/gtest.h>

#include <iostream>

namespace dinfer::test {

// What ranks other than 0 print: failures only.
class FailurePrinter : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    std::cerr << "rank " << rank_ << ": " << (test ? test->name() : "set-up") << ": "
              << (result.file_name() ? result.file_name() : "") << ":" << result.line_number()
              << ": " << result.summary() << std::endl;
  }

 private:
  int rank_;
};

inline void print_failures_only_unless_head(int rank) {
  if (rank == 0) return;
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new FailurePrinter(rank));
}

}  // namespace dinfer::test
