#pragma once

#include <memory>

#include "bootstrap/mpi_session.h"

namespace dinfer::test {

// Runs all tests on every rank: a failure on one fails all. Only rank 0 tells of what passes.
// Finishes the session.
int run_on_all_ranks(const std::shared_ptr<MpiSession>& session);

}  // namespace dinfer::test
