#include "cli/exit_codes.h"

#include <array>

namespace dinfer {

std::span<const std::pair<ExitCode, std::string_view>> exit_codes() {
  static constexpr std::array<std::pair<ExitCode, std::string_view>, 10> codes{{
      {ExitCode::ok, "done"},
      {ExitCode::bug, "a defect of dinfer"},
      {ExitCode::usage, "unknown command or option, or a value that is not allowed"},
      {ExitCode::config, "a layout or setting that cannot work, or ranks that disagree"},
      {ExitCode::model_files, "model files missing, broken or not supported"},
      {ExitCode::does_not_fit, "not enough memory"},
      {ExitCode::device, "device or driver unusable"},
      {ExitCode::peer, "another rank died or stalled"},
      {ExitCode::interrupted, "ended by SIGINT"},
      {ExitCode::terminated, "ended by SIGTERM"},
  }};
  return codes;
}

}  // namespace dinfer
