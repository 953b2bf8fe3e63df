#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace dinfer::test {

// The message with which `work` is refused; a failure of the test unless it is refused with `code`.
template <class Work>
std::string refusal(ExitCode code, const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return "";
}

inline void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks: " << part;
}

}  // namespace dinfer::test
