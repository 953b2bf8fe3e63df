// The ring's sums beside what raw sockets do on the same machine in the same run: two processes
// over loopback.
//   benchmark_ring [rounds]
// Prints a line a size: median microseconds of an all-reduce, of half a round trip of so many bytes
// by polling and by blocking reads, and the gigabytes a second that the two ranks move together in
// an all-reduce (which sends so many bytes each way), in a raw exchange both ways at once, and in a
// raw stream one way.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "bootstrap/supervisor.h"
#include "bootstrap/tcp_control_plane.h"
#include "comm/ring_communicator.h"

namespace {

using namespace dinfer;
using Clock = std::chrono::steady_clock;

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

double median_us(int rounds, const std::function<void()>& work) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = Clock::now();
    work();
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
  }
  std::ranges::nth_element(times, times.begin() + rounds / 2);
  return times[static_cast<size_t>(rounds / 2)];
}

void send_all(const Socket& socket, ByteView data) {
  while (!data.empty()) {
    const ssize_t bytes = send(socket.fd(), data.data(), data.size(), MSG_NOSIGNAL);
    if (bytes > 0) data = data.subspan(static_cast<size_t>(bytes));
  }
}

void receive_all(const Socket& socket, std::span<std::byte> data, bool blocking) {
  while (!data.empty()) {
    if (blocking) wait_ready(socket.fd(), POLLIN, soon());
    const ssize_t bytes = recv(socket.fd(), data.data(), data.size(), 0);
    if (bytes > 0) data = data.subspan(static_cast<size_t>(bytes));
  }
}

struct Figures {
  double all_reduce, polled, blocking, exchange, stream;
};

class Bench {
 public:
  Bench(std::shared_ptr<TcpSession> session, ControlPlane& control, int rounds)
      : session_(std::move(session)), control_(control), rounds_(rounds) {
    const Members members(all_ranks(control.size()), control.rank());
    raw_ = open_links(session_, control_, "benchmark", members, soon()).ring;
    ring_ = make_ring_communicator(session_, members,
                                   open_links(session_, control_, "benchmark", members, soon()),
                                   std::chrono::seconds(60));
  }

  Figures measure(size_t bytes) {
    std::vector<float> values(bytes / sizeof(float), 1.0f);
    data_.assign(bytes, std::byte{1});
    control_.barrier(soon());
    Figures figures{};
    figures.all_reduce = median_us(rounds_, [&] { ring_->all_reduce_sum(values); });
    figures.polled = median_us(rounds_, [&] { ping_pong(false); }) / 2;
    figures.blocking = median_us(rounds_, [&] { ping_pong(true); }) / 2;
    figures.exchange = median_us(rounds_, [&] { exchange(); });
    figures.stream = median_us(std::max(rounds_ / 10, 20), [&] { stream(); }) / kStreamed;
    return figures;
  }

 private:
  static constexpr int kStreamed = 8;

  bool first() const { return session_->world().rank == 0; }

  void ping_pong(bool blocking) {
    if (first()) send_all(raw_.right, data_);
    receive_all(raw_.left, data_, blocking);
    if (!first()) send_all(raw_.right, data_);
  }

  void exchange() {
    incoming_.resize(data_.size());
    ByteView out = data_;
    std::span<std::byte> in = incoming_;
    while (!out.empty() || !in.empty()) {
      const ssize_t sent =
          out.empty() ? 0 : send(raw_.right.fd(), out.data(), out.size(), MSG_NOSIGNAL);
      if (sent > 0) out = out.subspan(static_cast<size_t>(sent));
      const ssize_t received = in.empty() ? 0 : recv(raw_.left.fd(), in.data(), in.size(), 0);
      if (received > 0) in = in.subspan(static_cast<size_t>(received));
    }
  }

  // One way, with a byte back at the end.
  void stream() {
    std::array<std::byte, 1> end{};
    for (int i = 0; i < kStreamed; ++i)
      first() ? send_all(raw_.right, data_) : receive_all(raw_.left, data_, false);
    first() ? receive_all(raw_.left, end, false) : send_all(raw_.right, end);
  }

  std::shared_ptr<TcpSession> session_;
  ControlPlane& control_;
  const int rounds_;
  RingLinks raw_;
  std::unique_ptr<Communicator> ring_;
  std::vector<std::byte> data_, incoming_;
};

void run(const StarPlan& plan, const Socket& listener, int rounds) {
  Star star = plan.rank == 0 ? gather_ranks(listener, plan, soon()) : join_head(plan, soon());
  const auto session =
      std::make_shared<TcpSession>(plan, std::move(star), 0, std::chrono::seconds(60));
  const auto control = make_tcp_control_plane(session);
  Bench bench(session, *control, rounds);
  for (const size_t bytes : {4096, 8192, 65536, 262144, 1048576}) {
    const Figures f = bench.measure(bytes);
    const double thousands = static_cast<double>(bytes) / 1e3;  // by us: GB/s
    if (plan.rank == 0)
      std::printf(
          "%8zu bytes: all-reduce %7.1f us, half a round trip %7.1f us polled, %7.1f us blocking; "
          "GB/s: all-reduce %.2f, raw exchange %.2f, raw stream %.2f\n",
          bytes, f.all_reduce, f.polled, f.blocking, 2 * thousands / f.all_reduce,
          2 * thousands / f.exchange, thousands / f.stream);
  }
  control->barrier(soon());
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 2000;
  const Socket listener = listen_at({"127.0.0.1", 0});
  const Supervised self = supervise({.ranks = 2});
  if (self.exit_code) return *self.exit_code;
  run({.rank = self.local_rank,
       .size = 2,
       .local_size = 2,
       .head = {"127.0.0.1", port_of(listener)},
       .secret = "benchmark",
       .describe = [](int rank) { return fmt::format("rank {}", rank); }},
      listener, rounds);
  return 0;
}
