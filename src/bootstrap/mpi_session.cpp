#include "bootstrap/mpi_session.h"

#include <dlfcn.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/log.h"
#include "bootstrap/exit_timer.h"

namespace dinfer {
namespace {

constexpr std::chrono::seconds kAbortBound{10};
constexpr std::chrono::milliseconds kHeadSpeaks{500};

// What each rank tells the others at start. Sent as bytes: all ranks run the same binary's layout.
struct Introduction {
  char host[256] = "";
  int64_t pid = 0;
  int32_t host_leader = 0;  // smallest rank of the host
  uint64_t pid_namespace_device = 0;
  uint64_t pid_namespace_inode = 0;
};

// What ranks leave behind in memory that those of a host share: by rank, how much work they have
// done and the exit code they end the job with (0: none).
struct Ledger {
  std::span<std::atomic<uint64_t>> progress;
  std::span<std::atomic<int>> endings;

  static size_t bytes(int ranks) {
    return static_cast<size_t>(ranks) * (sizeof(std::atomic<uint64_t>) + sizeof(std::atomic<int>));
  }
  static Ledger at(std::span<std::byte> memory, int ranks) {
    const auto count = static_cast<size_t>(ranks);
    auto* progress = reinterpret_cast<std::atomic<uint64_t>*>(memory.data());
    return {{progress, count}, {reinterpret_cast<std::atomic<int>*>(progress + count), count}};
  }
};

ExitTimer bound_start(std::chrono::duration<double> limit, const char* what) {
  return ExitTimer(limit, ExitCode::peer,
                   fmt::format("{} did not end within {:.0f} s: a rank has not started or is "
                               "unreachable; a longer --start-timeout waits longer",
                               what, limit.count()));
}

// Ranks that all live on one host need no network: Open MPI then starts 0.25 s sooner (measured
// with 4.1.4) when it is told to use its own transports instead of searching for fabrics. A choice
// of the user's is left alone; other MPIs ignore the variable.
void skip_search_for_fabrics() {
  const char* ranks = std::getenv("OMPI_COMM_WORLD_SIZE");
  const char* local_ranks = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  if (ranks && local_ranks && std::string_view(ranks) == local_ranks)
    setenv("OMPI_MCA_pml", "ob1", 0);
}

// Open MPI 4 gives what it has to say of a connection that broke to mpirun, and waits for its
// answer: for a second, when mpirun has just seen a rank die. That is the second in which the head
// has to tell its clients. Only MPI_Init needs MPI's own words; of losses dinfer says more. The
// variable is that of --mca orte_execute_quiet, which is read too early.
void hush_open_mpi() {
  if (auto* quiet = static_cast<bool*>(dlsym(RTLD_DEFAULT, "orte_execute_quiet"))) *quiet = true;
}

// Cores that any rank of the host may use: launchers bind each rank to cores of its own.
int cores_of_host(MPI_Comm host) {
  cpu_set_t mine, all;
  CPU_ZERO(&mine);
  sched_getaffinity(0, sizeof mine, &mine);
  check_mpi(MPI_Allreduce(&mine, &all, sizeof mine, MPI_BYTE, MPI_BOR, host), "MPI_Allreduce");
  return CPU_COUNT(&all);
}

}  // namespace

std::string mpi_library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  const std::string_view version(text.data(), static_cast<size_t>(length));
  return std::string(version.substr(0, version.find_first_of(",\n")));
}

void check_mpi(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(result, text.data(), &length);
  fail(ExitCode::device, "{} failed: {}", call, std::string_view(text.data(), length));
}

std::shared_ptr<MpiSession> MpiSession::start(std::chrono::duration<double> start_timeout) {
  return std::shared_ptr<MpiSession>(new MpiSession(start_timeout));
}

MpiSession::MpiSession(std::chrono::duration<double> start_timeout)
    : start_timeout_(start_timeout) {
  const ExitTimer bound = bound_start(start_timeout, "the start of MPI");
  skip_search_for_fabrics();
  // MPI writes to connections of ranks that may be gone; that one was lost is told otherwise.
  std::signal(SIGPIPE, SIG_IGN);
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_SERIALIZED)
    fail(ExitCode::config, "{} was built without thread support (MPI_THREAD_SERIALIZED)",
         mpi_library_version());
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &all_), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(all_, MPI_ERRORS_RETURN);
  learn_world();
  learn_peers();
  hush_open_mpi();
  const size_t bytes = Ledger::bytes(world_.size);
  ledger_ = share_among(host_, bytes, bytes);
  if (!ledger_) return;
  const Ledger ledger = Ledger::at(ledger_->bytes(), world_.size);
  wait_->set_endings(ledger.endings.data());
  wait_->set_progress(&ledger.progress[static_cast<size_t>(world_.rank)], [ledger] {
    uint64_t sum = 0;
    for (const std::atomic<uint64_t>& each : ledger.progress)
      sum += each.load(std::memory_order_relaxed);
    return sum;
  });
}

void MpiSession::learn_world() {
  MPI_Comm_rank(all_, &world_.rank);
  MPI_Comm_size(all_, &world_.size);
  check_mpi(MPI_Comm_split_type(all_, MPI_COMM_TYPE_SHARED, world_.rank, MPI_INFO_NULL, &host_),
            "MPI_Comm_split_type");
  MPI_Comm_rank(host_, &world_.local_rank);
  world_.ordinal = world_.local_rank;
  MPI_Comm_size(host_, &world_.local_size);
  const int leads = world_.local_rank == 0;
  check_mpi(MPI_Allreduce(&leads, &world_.nodes, 1, MPI_INT, MPI_SUM, all_), "MPI_Allreduce");
}

void MpiSession::learn_peers() {
  Introduction mine;
  gethostname(mine.host, sizeof mine.host - 1);
  world_.host = mine.host;
  mine.pid = getpid();
  mine.host_leader = world_.rank;
  check_mpi(MPI_Bcast(&mine.host_leader, 1, MPI_INT32_T, 0, host_), "MPI_Bcast");
  struct stat pid_namespace {};
  stat("/proc/self/ns/pid", &pid_namespace);
  mine.pid_namespace_device = pid_namespace.st_dev;
  mine.pid_namespace_inode = pid_namespace.st_ino;

  std::vector<Introduction> all(world_.size);
  check_mpi(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all.data(), sizeof mine, MPI_BYTE, all_),
            "MPI_Allgather");
  std::vector<Peer> peers;
  for (const Introduction& other : all) {
    const bool watchable = other.host_leader == mine.host_leader &&
                           other.pid_namespace_device == mine.pid_namespace_device &&
                           other.pid_namespace_inode == mine.pid_namespace_inode;
    peers.push_back({.host = other.host, .pid = other.pid, .watchable = watchable});
  }
  const bool crowded = world_.local_size > cores_of_host(host_);
  wait_ = std::make_unique<PeerWait>(world_.rank, std::move(peers), crowded);
}

void MpiSession::start_pulse(const MpiPulsePlan& plan) {
  const ExitTimer bound = bound_start(start_timeout_, "the exchange of signs of life");
  int all_seen = 1;
  for (int rank = 0; rank < world_.size; ++rank)
    if (!wait_->peer(rank).watchable) all_seen = 0;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &all_seen, 1, MPI_INT, MPI_MIN, all_), "MPI_Allreduce");
  if (all_seen) return;
  pulse_ = start_mpi_pulse(all_, world_, *wait_, plan);
  if (!pulse_) return;
  wait_->set_report(pulse_->fd(), [this] { return pulse_->loss(); });
  wait_->set_progress(pulse_->own_progress(), [this] { return pulse_->progress(); });
}

MPI_Comm MpiSession::duplicate() {
  const ExitTimer bound = bound_start(start_timeout_, "MPI_Comm_dup");
  MPI_Comm copy = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(all_, &copy), "MPI_Comm_dup");
  return copy;
}

std::optional<SharedMemory> MpiSession::share(size_t bytes, size_t at_once,
                                              std::span<const int> members) {
  const ExitTimer bound = bound_start(start_timeout_, "MPI_Comm_split");
  MPI_Comm neighbours = MPI_COMM_NULL;  // members on this host
  check_mpi(MPI_Comm_split(host_, members.front(), world_.rank, &neighbours), "MPI_Comm_split");
  int count = 0;
  MPI_Comm_size(neighbours, &count);
  std::optional<SharedMemory> memory;
  if (count == std::ssize(members)) memory = share_among(neighbours, bytes, at_once);
  MPI_Comm_free(&neighbours);
  return memory;
}

std::optional<SharedMemory> MpiSession::share_among(MPI_Comm ranks, size_t bytes, size_t at_once) {
  const ExitTimer bound = bound_start(start_timeout_, "sharing memory among the ranks of a host");
  int rank = 0;
  MPI_Comm_rank(ranks, &rank);
  std::optional<SharedMemory> memory;
  std::array<char, 64> name{};
  const auto attempt = [&](auto make) {
    try {
      memory.emplace(make());
    } catch (const Error& error) {
      log::warn("ranks of this host talk by messages, which is slower: {}", error.what());
    }
  };
  if (rank == 0) {
    attempt([&] { return SharedMemory::create(bytes, at_once); });
    if (memory) memory->name().copy(name.data(), name.size() - 1);
  }
  check_mpi(MPI_Bcast(name.data(), name.size(), MPI_CHAR, 0, ranks), "MPI_Bcast");
  if (rank != 0 && name[0]) attempt([&] { return SharedMemory::open(name.data(), bytes); });
  const int mine = memory.has_value();
  int everyone = 0;
  check_mpi(MPI_Allreduce(&mine, &everyone, 1, MPI_INT, MPI_MIN, ranks), "MPI_Allreduce");
  if (rank == 0 && memory) memory->remove_name();
  if (!everyone) return std::nullopt;
  return memory;
}

void MpiSession::finish() {
  const ExitTimer bound = bound_start(start_timeout_, "MPI_Finalize");
  if (pulse_) pulse_->leave();
  MPI_Finalize();
}

void MpiSession::abort(ExitCode code) {
  if (ledger_)
    Ledger::at(ledger_->bytes(), world_.size)
        .endings[static_cast<size_t>(world_.rank)]
        .store(static_cast<int>(code), std::memory_order_release);
  log::flush();
  std::fflush(nullptr);
  // MPI_Abort ends the head, too, which has clients to tell that a rank was lost.
  if (code == ExitCode::peer && world_.rank != 0) std::this_thread::sleep_for(kHeadSpeaks);
  if (pulse_) pulse_->leave(code);
  const ExitTimer bound(kAbortBound, code, "");
  MPI_Abort(all_, static_cast<int>(code));
  _exit(static_cast<int>(code));
}

}  // namespace dinfer
