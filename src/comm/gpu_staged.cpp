#include "comm/gpu_staged.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "device/gpu_check.h"
#include "device/gpu_memory.h"

namespace dinfer {
namespace {

// A short part: large enough for the speed of a link, small enough that copies hide behind it.
constexpr size_t kShortBytes = size_t{1} << 20;

// Of a message: what a host's send need not await is one part, so that this one's need not, either.
constexpr size_t kMessageBytes = Communicator::kUnawaitedBytes;

constexpr size_t kWholeBytes = size_t{1} << 40;  // more than any call moves

class StagedCommunicator final : public Communicator {
 public:
  StagedCommunicator(GpuStream& stream, std::unique_ptr<HostCommunicator> host, StagedParts parts)
      : stream_(stream),
        host_(std::move(host)),
        part_bytes_(parts == StagedParts::whole ? kWholeBytes : kShortBytes),
        message_bytes_(std::max(part_bytes_, kMessageBytes)) {}

  // Buffers that kernels or copies still use are not freed under them.
  ~StagedCommunicator() override { cudaStreamSynchronize(stream_.get()); }

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  std::string_view transport() const override { return "staged"; }
  bool recordable() const override { return false; }

  void all_reduce_sum(std::span<float> values) override {
    const std::span<std::byte> device = std::as_writable_bytes(values);
    reserve(device.size(), part_bytes_);
    copy_out(device, 0, part_bytes_);
    for (size_t at = 0; at < device.size(); at += part_bytes_) {
      stream_.wait();
      copy_out(device, at + part_bytes_, part_bytes_);
      const std::span<std::byte> sums = staged(device, at, part_bytes_);
      host_->all_reduce_sum({reinterpret_cast<float*>(sums.data()), sums.size() / sizeof(float)});
      queue_copy(device.data() + at, sums.data(), sums.size());
    }
  }

  void all_gather(std::span<const std::byte> in, std::span<std::byte> out) override {
    check(out.size() == in.size() * static_cast<size_t>(size()),
          "all_gather: out holds one part a rank");
    reserve(in.size(), part_bytes_);
    copy_out(in, 0, part_bytes_);
    for (size_t at = 0; at < in.size(); at += part_bytes_) {
      stream_.wait();
      copy_out(in, at + part_bytes_, part_bytes_);
      const std::span<std::byte> own = staged(in, at, part_bytes_);
      gathered_.resize(own.size() * static_cast<size_t>(size()));
      host_->all_gather(own, gathered_);
      for (size_t rank = 0; rank < static_cast<size_t>(size()); ++rank)
        queue_copy(out.data() + rank * in.size() + at, gathered_.data() + rank * own.size(),
                   own.size());
    }
    stream_.wait();  // gathered_ is not pinned: what is copied from it must be done with
  }

  void all_gather_host(std::span<const std::byte> in, std::span<std::byte> out) override {
    host_->all_gather_host(in, out);
  }

  void send(int destination, std::span<const std::byte> data) override {
    reserve(data.size(), message_bytes_);
    copy_out(data, 0, message_bytes_);
    for (size_t at = 0; at == 0 || at < data.size(); at += message_bytes_) {
      stream_.wait();
      copy_out(data, at + message_bytes_, message_bytes_);
      host_->send(destination, staged(data, at, message_bytes_));
    }
  }

  void receive(int source, std::span<std::byte> data) override {
    reserve(data.size(), message_bytes_);
    for (size_t at = 0; at == 0 || at < data.size(); at += message_bytes_) {
      stream_.wait();  // the buffer's last contents have left
      const std::span<std::byte> part = staged(data, at, message_bytes_);
      host_->receive(source, part);
      queue_copy(data.data() + at, part.data(), part.size());
    }
  }

  void send_host(int destination, std::span<const std::byte> data) override {
    host_->send_host(destination, data);
  }

  void receive_host(int source, std::span<std::byte> data) override {
    host_->receive_host(source, data);
  }

 private:
  // Makes the buffers long enough for the parts of a call.
  void reserve(size_t bytes, size_t part_bytes) {
    const size_t parts = bytes > part_bytes ? 2 : 1, wanted = std::min(bytes, part_bytes);
    for (size_t i = 0; i < parts; ++i) {
      if (buffers_[i] && buffers_[i]->bytes() >= wanted) continue;
      stream_.wait();  // what is copied from and to the old one
      buffers_[i] = std::make_unique<PinnedMemory>(std::max(wanted, kShortBytes));
    }
  }

  // The pinned buffer of the part of `device` that begins at `at`.
  std::span<std::byte> staged(std::span<const std::byte> device, size_t at, size_t part_bytes) {
    if (at >= device.size()) return {};
    const size_t bytes = std::min(part_bytes, device.size() - at);
    return {buffers_[at / part_bytes % buffers_.size()]->data(), bytes};
  }

  void copy_out(std::span<const std::byte> device, size_t at, size_t part_bytes) {
    const std::span<std::byte> to = staged(device, at, part_bytes);
    queue_copy(to.data(), device.data() + at, to.size());
  }

  void queue_copy(void* to, const void* from, size_t bytes) {
    if (bytes == 0) return;
    check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_.get()),
               "cudaMemcpyAsync");
  }

  GpuStream& stream_;
  std::unique_ptr<HostCommunicator> host_;
  size_t part_bytes_, message_bytes_;                     // that travel at a time
  std::array<std::unique_ptr<PinnedMemory>, 2> buffers_;  // as long as calls have needed
  std::vector<std::byte> gathered_;
};

}  // namespace

std::unique_ptr<Communicator> make_staged_communicator(GpuStream& stream,
                                                       std::unique_ptr<HostCommunicator> host,
                                                       StagedParts parts) {
  return std::make_unique<StagedCommunicator>(stream, std::move(host), parts);
}

}  // namespace dinfer
