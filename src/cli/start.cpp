#include "cli/start.h"

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <optional>

#include "base/build_info.h"
#include "base/log.h"
#include "cli/start_layout.h"
#include "cli/start_model.h"
#include "cli/start_offload.h"
#include "cli/start_rank.h"
#include "cli/start_state.h"
#include "cli/start_together.h"
#include "factory.h"

namespace dinfer {

namespace {

using Seconds = std::chrono::duration<double>;

constexpr Seconds kFinishTimeout{10};

std::string state_path(const Options& options, const World& world) {
  const std::string& folder = options.log.directory;
  return fmt::format("{}dinfer-state-rank{}.json", folder.empty() ? "" : folder + "/", world.rank);
}

OrderedJson describe_rank(const Options& options, const Bootstrap& boot, double seconds) {
  const World& world = boot.world;
  return {{"version", build_info().version},
          {"rank", world.rank},
          {"ranks", world.size},
          {"host", world.host},
          {"pid", getpid()},
          {"bootstrap", boot.name},
          {"model", options.model},
          {"seconds_since_start", seconds},
          {"state", boot.control->state()},
          {"process", describe_process()}};
}

}  // namespace

int run_on_ranks(const Options& options, const StartRequest& request, const Client& client) {
  const auto begin = std::chrono::steady_clock::now();
  reserve_state_signal();
  keep_drain_signal();
  // Whoever reads output or log may leave: output that is lost is an error of its write, the log's
  // lines are only lost.
  std::signal(SIGPIPE, SIG_IGN);
  const Bootstrap boot = make_bootstrap(
      {.bootstrap = options.bootstrap,
       .mode = options.mode,
       .tp = options.tp,
       .pp = options.pp,
       .dp = options.dp,
       .mapped = [&]() -> std::optional<MappedDevices> {
         if (!asks_for_map(options)) return std::nullopt;
         return mapped_devices(options, wanted_config(options, request));
       },
       .too_large = [&](std::span<const uint64_t> gpus) { return is_too_large(options, gpus); },
       .cpu = options.cpu,
       .security = {.secret_file = options.secret_file,
                    .no_auth = options.insecure_no_auth,
                    .control_interface = options.control_interface},
       .ring_any_size = options.ring_any_size,
       .no_p2p = options.no_p2p,
       .start_timeout = Seconds(options.start_timeout),
       .step_timeout = Seconds(options.step_timeout),
       .stall_timeout = Seconds(options.stall_timeout)});
  if (boot.exit_code) return *boot.exit_code;
  StartingRank rank(options, request, begin, boot);
  configure_log(options.log, boot.world.rank, boot.world.size);
  const StateFile state(state_path(options, boot.world), [&] {
    return describe_rank(options, boot, Seconds(std::chrono::steady_clock::now() - begin).count());
  });
  const auto finish = [&] {
    rank.disconnect();
    boot.finish(Deadline::after(kFinishTimeout));
  };
  // As soon as one rank leaves with an error, launchers end the others: what is to be said is said
  // before that.
  const auto say = [&](std::string_view kind, std::string_view what) {
    log::print(fmt::format("dinfer: [rank {}] {}: {}\n", boot.world.rank, kind, what));
  };
  ExitCode broken = ExitCode::bug;
  try {
    const int code = rank.run(client);
    finish();
    return code;
  } catch (const JointError& error) {
    if (boot.world.size == 1) throw;
    if (boot.world.rank == 0) say("error", error.what());
    finish();
    return static_cast<int>(error.code());
  } catch (const Error& error) {
    if (boot.world.size == 1) throw;
    say("error", error.what());
    broken = error.code();
  } catch (const std::exception& error) {
    if (boot.world.size == 1) throw;
    say("internal error, please report it", error.what());
  }
  boot.control->abort(broken);
  return static_cast<int>(
      broken);  // not reached; GCC does not believe [[noreturn]] of virtual calls
}

}  // namespace dinfer
