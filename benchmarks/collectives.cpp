// Collectives among GPUs, under mpirun, one rank a GPU: first whether each way gives the right
// bits, then microseconds by size, for the kernels over peer memory and for NCCL, call by call and
// in recorded graphs.
//   mpirun -np 2 benchmark_collectives [--sweep]
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>

#include "base/error.h"
#include "bootstrap/mpi_control_plane.h"
#include "bootstrap/mpi_session.h"
#include "comm/gpu_nccl.h"
#include "comm/gpu_peer.h"
#include "comm/mpi_communicator.h"
#include "kernels/cuda/peer_mail.h"

namespace dinfer {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr size_t kMostFloats = size_t{8} << 20;

struct Way {
  const char* name;
  std::function<void(float* values, size_t count)> sum;
  size_t most_bytes;
};

class Bench {
 public:
  Bench(GroupPlane& control, const World& world, GpuStream& stream)
      : control_(control), stream_(stream) {
    const auto gpus = introduce_gpus(control, world, stream, soon());
    std::string no_peers, no_nccl;
    peers_ = PeerMemory::open(control, gpus, stream, Seconds(10), soon(), no_peers);
    nccl_ = NcclGroup::connect(control, false, Seconds(10), soon(), no_nccl);
    say("peers: %s\nnccl: %s\n", peers_ ? "yes" : no_peers.c_str(),
        nccl_ ? "yes" : no_nccl.c_str());
    for (float** buffer : {&values_, &fresh_, &into_, &norm_, &out_})
      cuda::require(cudaMalloc(buffer, kMostFloats * sizeof(float)), "cudaMalloc");
    for (cudaEvent_t* event : {&begin_, &end_}) cuda::require(cudaEventCreate(event), "cudaEvent");
    if (peers_) {
      add_peer_way("one-shot", cuda::PeerPath::one_shot);
      add_peer_way("two-shot", cuda::PeerPath::two_shot);
    }
    if (nccl_)
      ways_.push_back(
          {"NCCL",
           [this](float* values, size_t count) { nccl_->sum(values, count, stream_.get()); },
           kMostFloats * sizeof(float)});
  }

  void check_all() {
    for (const Way& way : ways_) check_way(way);
    if (peers_) check_norms();
    if (peers_) check_gathers();
  }

  void print_sums() {
    say("\nall-reduce of f32, microseconds a call: in a graph / call by call\n%10s", "bytes");
    for (const Way& way : ways_) say("%18s", way.name);
    for (size_t bytes = 4096; bytes <= kMostFloats * 4; bytes *= 2) {
      say("\n%10zu", bytes);
      for (const Way& way : ways_) {
        if (bytes > way.most_bytes) {
          say("%18s", "-");
          continue;
        }
        const auto call = [&] { way.sum(values_, bytes / 4); };
        say("%9.2f /%7.2f", graph_time(call), call_time(call));
      }
    }
    say("\n");
  }

  // Rank 0 and rank 1 send the same bytes to and fro: half a turn is a hop, from the kernel that
  // sends to the one behind that which received. Then one way only.
  void print_hops() {
    if (!peers_ || control_.size() < 2) return;
    say("\nmessages of rank 0 and rank 1: microseconds a hop in a graph, GB/s one way\n");
    auto* data = reinterpret_cast<std::byte*>(values_);
    const int rank = control_.rank();
    for (const size_t bytes :
         {size_t{4} << 10, size_t{16} << 10, size_t{32} << 10, size_t{128} << 10, size_t{256} << 10,
          size_t{1} << 20, size_t{4} << 20, size_t{32} << 20}) {
      const auto pass = [&](int from, int to) {
        if (rank == from) cuda::peer_send(peers_->kernels(), peers_->group(), to, data, bytes);
        if (rank == to) cuda::peer_receive(peers_->kernels(), peers_->group(), from, data, bytes);
      };
      const double turn = graph_time([&] {
        if (rank > 1) return;
        pass(0, 1);
        pass(1, 0);
      });
      const double one_way = call_time([&] { pass(0, 1); });
      say("%9zu: %8.2f us, %7.1f GB/s\n", bytes, turn / 2,
          static_cast<double>(bytes) / one_way * 1e-3);
    }
  }

  void print_sweep() {
    say("\none-shot, microseconds in a graph by threads x blocks\n");
    for (const size_t bytes :
         {8u << 10, 16u << 10, 32u << 10, 64u << 10, 256u << 10, 1u << 20, 4u << 20, 8u << 20}) {
      say("%9zu:", bytes);
      for (const unsigned threads : {64, 128, 256, 512})
        for (const unsigned blocks : {8, 16, 32, 64, 128}) {
          if (threads * blocks > bytes / 8 || threads * blocks * 512 < bytes) continue;
          const double time = graph_time([&] {
            cuda::peer_sum(peers_->kernels(), peers_->group(), cuda::PeerPath::one_shot, values_,
                           nullptr, bytes / 4, {.threads = threads, .blocks = blocks});
          });
          say(" %ux%u %.2f", threads, blocks, time);
        }
      say("\n");
    }
  }

  void print_norms() {
    say("\nall-reduce + residual (+ norm) of f32, microseconds in a graph\n");
    for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{{1, 2048},
                                                                                {1, 4096},
                                                                                {1, 5120},
                                                                                {1, 8192},
                                                                                {2, 4096},
                                                                                {4, 4096},
                                                                                {8, 4096},
                                                                                {16, 4096},
                                                                                {32, 4096},
                                                                                {64, 4096},
                                                                                {128, 4096},
                                                                                {256, 4096}}) {
      const auto count = static_cast<size_t>(rows * columns);
      const double sum = graph_time([&] {
        cuda::peer_sum(peers_->kernels(), peers_->group(), cuda::PeerPath::one_shot, values_, into_,
                       count);
      });
      say("%4ld x %5ld (%7zu bytes): %6.2f, with norm %6.2f\n", rows, columns, count * 4, sum,
          graph_time([&] { norm(rows, columns); }));
    }
  }

  void print_gathers() {
    say("\nall-gather, microseconds in a graph\n");
    for (const size_t bytes : {64u, 512u, 4096u, 65536u})
      say("%9zu: %.2f\n", bytes, graph_time([&] {
            cuda::peer_gather(peers_->kernels(), peers_->group(), bytes_of(values_), bytes_of(out_),
                              bytes, bytes);
          }));
  }

 private:
  static Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }
  static std::byte* bytes_of(float* values) { return reinterpret_cast<std::byte*>(values); }

  template <class... Args>
  void say(const char* format, Args... args) const {
    if (control_.rank() != 0) return;
    std::printf(format, args...);
    std::fflush(stdout);
  }

  void add_peer_way(const char* name, cuda::PeerPath path) {
    ways_.push_back({name,
                     [this, path](float* values, size_t count) {
                       cuda::peer_sum(peers_->kernels(), peers_->group(), path, values, nullptr,
                                      count);
                     },
                     peers_->group().slot_bytes});
  }

  void norm(int64_t rows, int64_t columns) {
    cuda::peer_sum_norm(peers_->kernels(), peers_->group(),
                        cuda::PeerSumNorm<float>{.values = values_,
                                                 .into = into_,
                                                 .norm = norm_,
                                                 .epsilon = 1e-5f,
                                                 .out = out_,
                                                 .rows = rows,
                                                 .columns = columns});
  }

  static float value(int rank, size_t i, uint32_t seed) {
    const auto hash = static_cast<uint32_t>((i + seed) * 2654435761u) ^
                      (static_cast<uint32_t>(rank) * 0x9e3779b9u);
    return std::ldexp(static_cast<float>((hash * 0x85ebca6bu) >> 8) - 8388608.0f,
                      static_cast<int>(hash & 7) - 26);
  }

  void put(float* to, const std::vector<float>& from) {
    cuda::require(
        cudaMemcpyAsync(to, from.data(), from.size() * 4, cudaMemcpyDefault, stream_.get()),
        "copy");
  }
  std::vector<float> get(const float* from, size_t count) {
    std::vector<float> values(count);
    cuda::require(cudaMemcpyAsync(values.data(), from, count * 4, cudaMemcpyDefault, stream_.get()),
                  "copy");
    wait();
    return values;
  }

  void wait() {
    stream_.wait();
    if (peers_ && peers_->fault() != cuda::PeerFault::none) {
      const cuda::PeerReport r = peers_->report();
      fail(ExitCode::peer, "fault {} of peer {}: theirs {}, ours {}", r.fault, r.peer, r.theirs,
           r.ours);
    }
    if (nccl_) nccl_->check_errors();
  }

  std::vector<float> drawn(int rank, size_t count, uint32_t seed) const {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = value(rank, i, seed);
    return values;
  }

  // Sums in the order of the ranks.
  std::vector<float> expected(size_t count, uint32_t seed) const {
    std::vector<float> sums = drawn(0, count, seed);
    for (int rank = 1; rank < control_.size(); ++rank)
      for (size_t i = 0; i < count; ++i) sums[i] += value(rank, i, seed);
    return sums;
  }

  static uint64_t hash(const std::vector<float>& values) {
    uint64_t h = 1469598103934665603u;
    for (const float v : values) {
      uint32_t bits;
      std::memcpy(&bits, &v, 4);
      h = (h ^ bits) * 1099511628211u;
    }
    return h;
  }

  bool same_everywhere(const std::vector<float>& values) {
    const uint64_t own = hash(values);
    Bytes message(sizeof own);
    std::memcpy(message.data(), &own, sizeof own);
    const auto all = control_.all_gather(message, soon());
    return std::ranges::all_of(all, [&](const Bytes& other) { return other == message; });
  }

  size_t count_wrong(const std::vector<float>& got, const std::vector<float>& want) const {
    size_t wrong = 0;
    for (size_t i = 0; i < got.size(); ++i) wrong += std::memcmp(&got[i], &want[i], 4) != 0;
    return wrong;
  }

  void check_way(const Way& way) {
    std::mt19937 random(7);  // the same on all ranks
    const size_t most = std::min(way.most_bytes / 4, size_t{300'000});
    size_t wrong = 0, apart = 0, cases = 0;
    std::vector<size_t> counts = {1, 2, 3, 4, 5, 8, 31, 33, 100, 1023, 4096, 8192, most};
    for (int i = 0; i < 60; ++i) counts.push_back(1 + random() % (i % 6 ? 20'000 : most));
    for (const size_t count : counts) {
      const uint32_t seed = random();
      put(values_, drawn(control_.rank(), count, seed));
      if (random() % 4 == 0 && control_.rank() == static_cast<int>(random() % 2)) usleep(300);
      way.sum(values_, count);
      const std::vector<float> got = get(values_, count);
      wrong += count_wrong(got, expected(count, seed)) != 0;
      apart += !same_everywhere(got);
      ++cases;
    }
    // A graph replayed, with lengths that differ within it.
    const std::vector<size_t> lengths = {4096, 17, 8192, most, 1000, 4097};
    put(fresh_, drawn(control_.rank(), most, 1));
    wait();
    const cudaGraphExec_t graph = record([&] {
      for (const size_t count : lengths) {
        cuda::require(cudaMemcpyAsync(values_, fresh_, count * 4, cudaMemcpyDefault, stream_.get()),
                      "copy");
        way.sum(values_, count);
      }
    });
    size_t wrong_replays = 0;
    for (int replay = 0; replay < 1000; ++replay) {
      cuda::require(cudaGraphLaunch(graph, stream_.get()), "cudaGraphLaunch");
      if (replay % 100 != 99) continue;
      wrong_replays += count_wrong(get(values_, 4097), expected(4097, 1)) != 0;
    }
    wait();
    cudaGraphExecDestroy(graph);
    say("%-9s %zu lengths: %zu not the sum in rank order, %zu differ among ranks; 1000 replays of "
        "6 sums: %zu of 10 looks wrong\n",
        way.name, cases, wrong, apart, wrong_replays);
  }

  void check_norms() {
    size_t apart = 0, wrong_sums = 0;
    double worst = 0;
    int cases = 0;
    for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{{1, 64},
                                                                                {1, 576},
                                                                                {1, 4096},
                                                                                {3, 5120},
                                                                                {1, 8192},
                                                                                {7, 4096},
                                                                                {5, 16384},
                                                                                {40, 2048},
                                                                                {300, 64}}) {
      const auto count = static_cast<size_t>(rows * columns);
      const std::vector<float> before = drawn(99, count, 5), weight = drawn(77, columns, 6);
      put(values_, drawn(control_.rank(), count, 3));
      put(into_, before);
      put(norm_, weight);
      norm(rows, columns);
      std::vector<float> sums = expected(count, 3);
      for (size_t i = 0; i < count; ++i) sums[i] = before[i] + sums[i];
      wrong_sums += count_wrong(get(into_, count), sums) != 0;
      const std::vector<float> got = get(out_, count);
      apart += !same_everywhere(got);
      for (int64_t row = 0; row < rows; ++row) {
        double square = 0;
        for (int64_t i = 0; i < columns; ++i) square += std::pow(sums[row * columns + i], 2.0);
        const double scale = 1 / std::sqrt(square / columns + 1e-5);
        for (int64_t i = 0; i < columns; ++i) {
          const double want = sums[row * columns + i] * scale * weight[i];
          worst =
              std::max(worst, std::abs(got[row * columns + i] - want) / (std::abs(want) + 1e-6));
        }
      }
      ++cases;
    }
    say("norm      %d cases: %zu with wrong sums, %zu differ among ranks, worst relative error "
        "%.1e\n",
        cases, wrong_sums, apart, worst);
  }

  void check_gathers() {
    size_t wrong = 0;
    const auto part = [&](int rank, size_t count, uint32_t seed) {
      std::vector<std::byte> bytes(count);
      for (size_t i = 0; i < count; ++i)
        bytes[i] = static_cast<std::byte>((i * 7 + (i >> 8) * 3 + seed + rank * 101) & 255);
      return bytes;
    };
    for (uint32_t seed = 0; seed < 60; ++seed) {
      const size_t count = seed < 30 ? seed : seed * 811 % 60'000;
      const std::vector<std::byte> own = part(control_.rank(), count, seed);
      cuda::require(cudaMemcpyAsync(values_, own.data(), count, cudaMemcpyDefault, stream_.get()),
                    "copy");
      cuda::peer_gather(peers_->kernels(), peers_->group(), bytes_of(values_), bytes_of(out_),
                        count, count);
      std::vector<std::byte> all(count * control_.size());
      cuda::require(cudaMemcpyAsync(all.data(), out_, all.size(), cudaMemcpyDefault, stream_.get()),
                    "copy");
      wait();
      for (int rank = 0; rank < control_.size(); ++rank)
        wrong += !std::ranges::equal(part(rank, count, seed),
                                     std::span(all).subspan(rank * count, count));
    }
    say("gather    60 lengths: %zu wrong parts\n", wrong);
  }

  cudaGraphExec_t record(const std::function<void()>& calls) {
    cuda::require(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal),
                  "capture");
    calls();
    cudaGraph_t graph = nullptr;
    cuda::require(cudaStreamEndCapture(stream_.get(), &graph), "cudaStreamEndCapture");
    cudaGraphExec_t executable = nullptr;
    cuda::require(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    cudaGraphDestroy(graph);
    return executable;
  }

  // Microseconds, the slowest rank's.
  double timed(int calls, const std::function<void()>& work) {
    control_.barrier(soon());
    cuda::require(cudaEventRecord(begin_, stream_.get()), "cudaEventRecord");
    work();
    cuda::require(cudaEventRecord(end_, stream_.get()), "cudaEventRecord");
    wait();
    float milliseconds = 0;
    cuda::require(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    Bytes message(sizeof milliseconds);
    std::memcpy(message.data(), &milliseconds, sizeof milliseconds);
    for (const Bytes& other : control_.all_gather(message, soon())) {
      float theirs = 0;
      std::memcpy(&theirs, other.data(), sizeof theirs);
      milliseconds = std::max(milliseconds, theirs);
    }
    return milliseconds * 1000.0 / calls;
  }

  static double median(std::vector<double> times) {
    std::ranges::sort(times);
    return times[times.size() / 2];
  }

  double graph_time(const std::function<void()>& call) {
    constexpr int kNodes = 64, kReplays = 4, kRepeats = 5;
    call();
    wait();
    const cudaGraphExec_t graph = record([&] {
      for (int i = 0; i < kNodes; ++i) call();
    });
    std::vector<double> times;
    for (int repeat = 0; repeat <= kRepeats; ++repeat) {
      const double time = timed(kNodes * kReplays, [&] {
        for (int i = 0; i < kReplays; ++i)
          cuda::require(cudaGraphLaunch(graph, stream_.get()), "cudaGraphLaunch");
      });
      if (repeat > 0) times.push_back(time);
    }
    cudaGraphExecDestroy(graph);
    return median(times);
  }

  double call_time(const std::function<void()>& call) {
    constexpr int kCalls = 100, kRepeats = 3;
    std::vector<double> times;
    for (int repeat = 0; repeat < kRepeats; ++repeat)
      times.push_back(timed(kCalls, [&] {
        for (int i = 0; i < kCalls; ++i) call();
      }));
    return median(times);
  }

  GroupPlane& control_;
  GpuStream& stream_;
  std::unique_ptr<PeerMemory> peers_;
  std::unique_ptr<NcclGroup> nccl_;
  std::vector<Way> ways_;
  float *values_ = nullptr, *fresh_ = nullptr, *into_ = nullptr, *norm_ = nullptr, *out_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace
}  // namespace dinfer

int main(int argc, char** argv) {
  using namespace dinfer;
  const std::string_view asked = argc > 1 ? argv[1] : "";
  const auto session = MpiSession::start(std::chrono::seconds(60));
  const auto control = make_mpi_control_plane(session);
  try {
    GpuStream stream(session->world().local_rank);
    const World& world = session->world();
    const Members members(all_ranks(world.size), world.rank);
    const auto host = make_mpi_communicator(session, members, std::chrono::seconds(60));
    GroupPlane group(*control, *host, members);
    Bench bench(group, world, stream);
    bench.check_all();
    bench.print_norms();
    bench.print_sums();
    bench.print_gathers();
    bench.print_hops();
    if (asked == "--sweep") bench.print_sweep();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", session->world().rank, error.what());
    control->abort(ExitCode::device);
  }
  session->finish();
}
