#pragma once

#include <cstdint>
#include <memory>

#include "base/token_mask.h"

namespace dinfer {

// What one sequence may say. Lives on the head, used by the engine's thread.
class Constraint {
 public:
  virtual ~Constraint() = default;

  // The tokens that may come next; at least one.
  virtual const TokenMask& allowed() const = 0;

  // One of the allowed tokens was chosen. False: nothing may follow it.
  virtual bool take(int32_t token) = 0;
};

}  // namespace dinfer
