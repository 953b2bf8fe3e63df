#include "base/build_info.h"

namespace dinfer {

// The DINFER_BUILD_* values come from src/CMakeLists.txt.
BuildInfo build_info() { return {DINFER_BUILD_VERSION, DINFER_BUILD_TYPE, DINFER_BUILD_COMPILER}; }

}  // namespace dinfer
