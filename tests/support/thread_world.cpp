#include "tests/support/thread_world.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/host_communicator.h"

namespace dinfer::test {
namespace {

using Message = std::vector<std::byte>;

// What the ranks of one world share. Every wait ends when a rank has failed.
class Room {
 public:
  explicit Room(int ranks) : ranks_(ranks), messages_(static_cast<size_t>(ranks)) {}

  // All ranks put in a message and see all of them.
  std::vector<Message> exchange(int rank, Message message) {
    std::unique_lock lock(mutex_);
    messages_[static_cast<size_t>(rank)] = std::move(message);
    meet(lock);
    std::vector<Message> all = messages_;
    meet(lock);  // nobody puts in the next message before all have seen these
    return all;
  }

  void send(int from, int to, Message message) {
    const std::lock_guard lock(mutex_);
    mail_[{from, to}].push_back(std::move(message));
    changed_.notify_all();
  }

  Message receive(int from, int to) {
    std::unique_lock lock(mutex_);
    auto& mail = mail_[{from, to}];
    wait(lock, [&] { return !mail.empty(); });
    Message message = std::move(mail.front());
    mail.pop_front();
    return message;
  }

  void fail_with(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
    for (const auto& [members, room] : rooms_) room->fail_with(error);
    changed_.notify_all();
  }

  // The room of some of its ranks.
  Room& of(const std::vector<int>& members) {
    const std::lock_guard lock(mutex_);
    std::unique_ptr<Room>& room = rooms_[members];
    if (!room) room = std::make_unique<Room>(static_cast<int>(members.size()));
    return *room;
  }

  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void meet(std::unique_lock<std::mutex>& lock) {
    const int64_t round = round_;
    if (++arrived_ == ranks_) {
      arrived_ = 0;
      ++round_;
      changed_.notify_all();
    }
    wait(lock, [&] { return round_ != round; });
  }

  template <class Condition>
  void wait(std::unique_lock<std::mutex>& lock, Condition condition) {
    changed_.wait(lock, [&] { return error_ || condition(); });
    if (!condition()) fail(ExitCode::peer, "another rank of the test failed");
  }

  const int ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Message> messages_;
  std::map<std::pair<int, int>, std::deque<Message>> mail_;
  std::map<std::vector<int>, std::unique_ptr<Room>> rooms_;
  int arrived_ = 0;
  int64_t round_ = 0;
  std::exception_ptr error_;
};

class ThreadCommunicator : public HostCommunicator {
 public:
  ThreadCommunicator(Room& room, int rank, int size)
      : HostCommunicator(std::chrono::seconds(30)), room_(room), rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string_view transport() const override { return "threads"; }

  void all_reduce_sum(std::span<float> values) override {
    const std::vector<Message> all = room_.exchange(rank_, copy_of(std::as_bytes(values)));
    std::fill(values.begin(), values.end(), 0.0f);
    for (const Message& message : all) {
      check(message.size() == values.size_bytes(), "all ranks reduce the same number of values");
      for (size_t i = 0; i < values.size(); ++i) {
        float value;
        std::memcpy(&value, message.data() + i * sizeof value, sizeof value);
        values[i] += value;
      }
    }
  }

  void all_gather(std::span<const std::byte> in, std::span<std::byte> out) override {
    check(out.size() == in.size() * static_cast<size_t>(size_), "out has a part for each rank");
    size_t at = 0;
    for (const Message& message : room_.exchange(rank_, copy_of(in))) {
      check(message.size() == in.size(), "all ranks gather the same number of bytes");
      std::copy(message.begin(), message.end(), out.begin() + static_cast<ptrdiff_t>(at));
      at += message.size();
    }
  }

  void send(int destination, std::span<const std::byte> data) override {
    room_.send(rank_, destination, copy_of(data));
  }

  void receive(int source, std::span<std::byte> data) override {
    const Message message = room_.receive(source, rank_);
    check(message.size() == data.size(), "the receiver expects what was sent");
    std::copy(message.begin(), message.end(), data.begin());
  }

  Room& room() { return room_; }

 private:
  static Message copy_of(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

  Room& room_;
  int rank_;
  int size_;
};

}  // namespace

std::unique_ptr<Communicator> subgroup(Communicator& world, const std::vector<int>& members) {
  const auto own = std::ranges::find(members, world.rank());
  check(own != members.end(), "a rank is a member of its group");
  return std::make_unique<ThreadCommunicator>(
      dynamic_cast<ThreadCommunicator&>(world).room().of(members),
      static_cast<int>(own - members.begin()), static_cast<int>(members.size()));
}

void spawn(int ranks, const std::function<void(Communicator& group)>& rank_main) {
  Room room(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadCommunicator group(room, rank, ranks);
      try {
        rank_main(group);
      } catch (...) {
        room.fail_with(std::current_exception());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  room.rethrow();
}

}  // namespace dinfer::test
