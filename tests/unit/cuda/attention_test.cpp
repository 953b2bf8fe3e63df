// Attention on a GPU against the same sums in double precision, without rotation, which the
// devices' conformance tests cover. Skips where there is no GPU.
#include "kernels/cuda/attention.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/cuda/device_array.h"
#include "tests/unit/cuda/stream_test.h"

namespace dinfer::cuda {
namespace {

constexpr int kBlocks = 80;  // of the cache

struct Shape {
  int heads = 8, kv_heads = 2, head_dim = 128, block_size = 16, window = 0;
  KvType type = KvType::f16;
  int64_t width() const { return int64_t{heads + 2 * kv_heads} * head_dim; }
};

// One sequence on the GPU, and all it was given.
class Sequence {
 public:
  Sequence(const Stream& stream, const Shape& shape)
      : stream_(stream),
        shape_(shape),
        keys_(cache_bytes()),
        values_(cache_bytes()),
        angles_(std::vector<float>(1)) {
    for (int i = 0; i < kBlocks; ++i) blocks_.push_back(i * 7 % kBlocks);
  }

  // The worst relative error of the rows of a chunk of so many tokens more; one alone is decoded.
  double step(int tokens) {
    const int position = static_cast<int>(std::ssize(all_) / shape_.width());
    std::normal_distribution<float> normal;
    std::vector<float> qkv(static_cast<size_t>(tokens * shape_.width()));
    for (float& v : qkv) v = normal(random_);
    for (size_t i = 0; i < qkv.size(); ++i) {
      const bool query = static_cast<int64_t>(i) % shape_.width() < shape_.heads * shape_.head_dim;
      const bool rounded = !query && shape_.type == KvType::f8;
      all_.push_back(rounded ? f8_to_f32(f32_to_f8(qkv[i])) : qkv[i]);
    }
    const std::vector<float> out = attend_on_gpu(qkv, position, tokens);
    double worst = 0;
    for (int token = 0; token < tokens; ++token) {
      for (int head = 0; head < shape_.heads; ++head) {
        const float* got = out.data() + (int64_t{token} * shape_.heads + head) * shape_.head_dim;
        worst = std::max(worst, error(got, position + token, head));
      }
    }
    return worst;
  }

 private:
  size_t cache_bytes() const {
    return size_t{kBlocks} * static_cast<size_t>(shape_.kv_heads * shape_.block_size) *
           static_cast<size_t>(shape_.head_dim) * bytes_of(shape_.type);
  }

  std::vector<float> attend_on_gpu(const std::vector<float>& qkv, int position, int tokens) {
    const DeviceArray<float> in(qkv);
    const DeviceArray<float> out(
        std::vector<float>(static_cast<size_t>(tokens * shape_.heads * shape_.head_dim), NAN));
    const DeviceArray<int32_t> blocks(blocks_);
    Attention attention{.qkv = in.data(),
                        .out = out.data(),
                        .keys = keys_.data(),
                        .values = values_.data(),
                        .type = shape_.type,
                        .heads = shape_.heads,
                        .kv_heads = shape_.kv_heads,
                        .head_dim = shape_.head_dim,
                        .block_size = shape_.block_size,
                        .window = shape_.window,
                        .scale = scale()};
    attention.rotations[0] = {angles_.data(), angles_.data()};
    if (tokens == 1) {
      decode(attention, blocks.data(), position);
    } else {
      prefill(attention, blocks.data(), position, tokens);
    }
    require(cudaStreamSynchronize(stream_.handle), "cudaStreamSynchronize");
    return out.host();
  }

  // In three parts.
  void decode(const Attention& attention, const int32_t* blocks, int position) {
    constexpr int kParts = 3;
    std::vector<DecodePart> parts;
    const int each = (position / kParts + 15) / 16 * 16;
    for (int i = 0; i < kParts; ++i) {
      parts.push_back({.row = 0,
                       .position = position,
                       .begin = std::min(i * each, position / 16 * 16),
                       .end = i + 1 == kParts ? position : std::min((i + 1) * each, position),
                       .part = i,
                       .parts = kParts});
    }
    const DeviceArray<DecodePart> list(parts);
    const DeviceArray<float> partials(static_cast<size_t>(
        decode_partial_floats(kParts, shape_.heads, shape_.kv_heads, shape_.head_dim)));
    const DeviceArray<int32_t> arrivals(std::vector<int32_t>(
        static_cast<size_t>(decode_arrivals(kParts, shape_.heads, shape_.kv_heads))));
    attend_decode(stream_,
                  {.parts = list.data(),
                   .most_parts = kParts,
                   .blocks = blocks,
                   .partials = partials.data(),
                   .arrivals = arrivals.data()},
                  attention);
    require(cudaStreamSynchronize(stream_.handle), "cudaStreamSynchronize");
  }

  void prefill(const Attention& attention, const int32_t* blocks, int position, int tokens) {
    std::vector<PromptRow> rows;
    std::vector<PromptTile> tiles;
    const int most = prompt_tile_tokens(stream_, shape_.head_dim, shape_.heads / shape_.kv_heads);
    for (int i = 0; i < tokens; ++i) rows.push_back({.row = i, .position = position + i});
    for (int i = 0; i < tokens; i += most) {
      tiles.push_back({.row = i, .tokens = std::min(most, tokens - i), .position = position + i});
    }
    const DeviceArray<PromptRow> row_list(rows);
    const DeviceArray<PromptTile> tile_list(tiles);
    attend_prompts(stream_,
                   {.prompt_rows = row_list.data(),
                    .prompt_row_count = tokens,
                    .tiles = tile_list.data(),
                    .tile_count = static_cast<int>(tiles.size()),
                    .blocks = blocks},
                   attention);
    require(cudaStreamSynchronize(stream_.handle), "cudaStreamSynchronize");
  }

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.head_dim)); }

  const float* of(int position, int head) const {
    return all_.data() + position * shape_.width() + int64_t{head} * shape_.head_dim;
  }

  double error(const float* got, int position, int head) const {
    const int kv_head = head / (shape_.heads / shape_.kv_heads);
    const int first = shape_.window > 0 ? std::max(0, position + 1 - shape_.window) : 0;
    std::vector<double> sums(static_cast<size_t>(shape_.head_dim));
    double total = 0;
    for (int at = first; at <= position; ++at) {
      double score = 0;
      for (int i = 0; i < shape_.head_dim; ++i) {
        score += double{of(position, head)[i]} * of(at, shape_.heads + kv_head)[i];
      }
      const double weight = std::exp(score * scale());
      total += weight;
      const float* value = of(at, shape_.heads + shape_.kv_heads + kv_head);
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += weight * value[i];
    }
    double difference = 0, norm = 0;
    for (size_t i = 0; i < sums.size(); ++i) {
      difference += std::pow(got[i] - sums[i] / total, 2);
      norm += std::pow(sums[i] / total, 2);
    }
    const double relative = std::sqrt(difference / norm);
    return std::isfinite(relative) ? relative : 1e9;
  }

  Stream stream_;
  Shape shape_;
  std::mt19937 random_{54321};
  DeviceArray<std::byte> keys_, values_;
  DeviceArray<float> angles_;
  std::vector<int32_t> blocks_;
  std::vector<float> all_;  // [positions, width]
};

class CudaAttention : public StreamTest {
 protected:
  // With either kind of cache.
  void expect_right(Shape shape, const std::vector<int>& chunks) {
    compare(shape, chunks);
    shape.type = KvType::f8;
    if (shape.head_dim % head_dim_unit(shape.type) == 0) compare(shape, chunks);
  }
  void compare(const Shape& shape, const std::vector<int>& chunks) {
    Sequence sequence(stream_, shape);
    for (const int tokens : chunks) {
      EXPECT_LT(sequence.step(tokens), 4e-3)
          << "chunk of " << tokens << ", heads " << shape.heads << "/" << shape.kv_heads << " of "
          << shape.head_dim << ", window " << shape.window << ", blocks of " << shape.block_size
          << ", cache of " << name_of(shape.type);
    }
  }
};

TEST_F(CudaAttention, HeadsOfEverySize) {
  for (const int dim : {16, 64, 80, 96, 128, 136, 192, 256})
    expect_right({.head_dim = dim}, {2, 200, 37, 400});
}

TEST_F(CudaAttention, SharesKvHeadsInEveryRatio) {
  for (const auto& [heads, kv_heads] : {std::pair{9, 3}, {4, 4}, {8, 1}, {20, 1}, {64, 1}}) {
    expect_right({.heads = heads, .kv_heads = kv_heads}, {130, 300});
  }
}

TEST_F(CudaAttention, SlidingWindows) {
  for (const int window : {1, 5, 64, 128, 200, 400}) {
    expect_right({.window = window}, {150, 3, 600});
  }
}

// What GPUs of compute capability 8.6, 8.9 and 12.0 have. No launch asks for more than its stream
// has.
TEST_F(CudaAttention, LittleSharedMemory) {
  stream_.shared_memory = kLeastSharedMemory;
  stream_.warpgroups = false;
  for (const int dim : {64, 96, 128, 192, 256})
    expect_right({.head_dim = dim}, {2, 1, 200, 1, 37, 400, 1});
  expect_right({.heads = 20, .kv_heads = 1}, {130, 1});
  expect_right({.head_dim = 256, .window = 100}, {130, 1, 90, 1});
}

TEST_F(CudaAttention, LargerBlocks) {
  expect_right({.block_size = 32}, {100, 700});
  expect_right({.block_size = 48}, {100, 700});
}

}  // namespace
}  // namespace dinfer::cuda
