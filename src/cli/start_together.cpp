#include "cli/start_together.h"

#include <chrono>
#include <string>
#include <vector>

#include "bootstrap/agree.h"
#include "engine/bytes.h"

namespace dinfer {

namespace {

struct Failure {
  ExitCode code = ExitCode::ok;
  std::string message;
};

Failure outcome_of(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::does_not_fit, "out of memory"};
  } catch (const std::exception& error) {
    return {ExitCode::bug, error.what()};
  }
}

}  // namespace

Deadline start_deadline(const Options& options) {
  return Deadline::after(std::chrono::duration<double>(options.start_timeout));
}

void together(ControlPlane& control, const World& world, Deadline deadline,
              const std::function<void()>& work) {
  if (world.size == 1) return work();
  const Failure own = outcome_of(work);
  ByteWriter out;
  out.put(static_cast<int32_t>(own.code));
  out.put_text(own.message);
  out.put_text(world.host);
  const std::vector<Bytes> all = control.all_gather(out.take(), deadline);

  Failure first;
  std::vector<int> failed;
  std::string host;
  for (int rank = 0; rank < std::ssize(all); ++rank) {
    ByteReader in(all[static_cast<size_t>(rank)], fmt::format("outcome of rank {}", rank));
    const auto code = static_cast<ExitCode>(in.get<int32_t>());
    std::string message = in.get_text();
    if (code == ExitCode::ok) continue;
    if (failed.empty()) {
      first = {code, std::move(message)};
      host = in.get_text();
      failed.push_back(rank);
    } else if (message == first.message) {
      failed.push_back(rank);
    }
  }
  if (failed.empty()) return;
  if (failed.size() == all.size()) throw JointError(first.code, first.message);
  throw JointError(first.code,
                   failed.size() == 1
                       ? fmt::format("rank {} ({}): {}", failed[0], host, first.message)
                       : fmt::format("ranks {}: {}", list_ranks(failed), first.message));
}

}  // namespace dinfer
