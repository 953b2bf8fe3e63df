#pragma once

#include <string_view>

namespace dinfer {

// What this binary is; src/factory.h tells which backends it contains.
struct BuildInfo {
  std::string_view version;
  std::string_view build_type;
  std::string_view compiler;
};

BuildInfo build_info();

}  // namespace dinfer
