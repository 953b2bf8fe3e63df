#include "comm/timed_communicator.h"

#include <chrono>
#include <utility>

namespace dinfer {
namespace {

class TimedCommunicator final : public Communicator {
 public:
  TimedCommunicator(std::unique_ptr<Communicator> inner, CallTime& time)
      : inner_(std::move(inner)), time_(time) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::string_view transport() const override { return inner_->transport(); }
  std::string_view message_transport() const override { return inner_->message_transport(); }
  bool recordable() const override { return inner_->recordable(); }

  void all_reduce_sum(std::span<float> values) override {
    measure([&] { inner_->all_reduce_sum(values); });
  }
  void all_gather(std::span<const std::byte> in, std::span<std::byte> out) override {
    measure([&] { inner_->all_gather(in, out); });
  }
  void all_gather_host(std::span<const std::byte> in, std::span<std::byte> out) override {
    measure([&] { inner_->all_gather_host(in, out); });
  }
  void send(int destination, std::span<const std::byte> data) override {
    measure([&] { inner_->send(destination, data); });
  }
  void receive(int source, std::span<std::byte> data) override {
    measure([&] { inner_->receive(source, data); });
  }
  void send_host(int destination, std::span<const std::byte> data) override {
    measure([&] { inner_->send_host(destination, data); });
  }
  void receive_host(int source, std::span<std::byte> data) override {
    measure([&] { inner_->receive_host(source, data); });
  }

 private:
  template <class Call>
  void measure(Call&& call) {
    const auto begin = std::chrono::steady_clock::now();
    call();
    time_.seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  std::unique_ptr<Communicator> inner_;
  CallTime& time_;
};

}  // namespace

std::unique_ptr<Communicator> timed(std::unique_ptr<Communicator> communicator, CallTime& time) {
  if (communicator->size() == 1) return communicator;
  return std::make_unique<TimedCommunicator>(std::move(communicator), time);
}

}  // namespace dinfer
