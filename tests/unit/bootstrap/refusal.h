#pragma once

#include <string>

#include <gtest/gtest.h>

#include "base/error.h"

namespace dinfer {

// The message of the Error(config) that `action` ends with.
template <class Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::config);
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return "";
}

}  // namespace dinfer
