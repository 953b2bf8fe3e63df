#include "device/gpu_step.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "device/gpu_check.h"

namespace dinfer {
namespace {

constexpr int64_t kPage = 16;        // positions: parts begin at a multiple
constexpr int64_t kLeastPart = 256;  // positions: less is not worth another thread block
constexpr int64_t kBlocksPerProcessor =
    2;                           // thread blocks of decoding that one multiprocessor holds
constexpr int64_t kFewRows = 8;  // up to which contexts are cut for one round of blocks
constexpr int64_t kRounds = 4;   // beyond: for so many rounds, which even out
constexpr size_t kAlignment = 64;

int64_t room_for(int64_t wanted, int64_t room, int64_t least) {
  if (wanted <= room) return room;
  return std::max<int64_t>(least, std::bit_ceil(static_cast<uint64_t>(wanted)));
}

// The most parts that a context may be cut into beside one a token.
int64_t extra_parts(int64_t rows, int multiprocessors, const AttentionHeads& heads) {
  const int64_t rounds = rows <= kFewRows ? 1 : kRounds;
  return (multiprocessors * kBlocksPerProcessor * rounds + heads.kv_heads - 1) / heads.kv_heads;
}

template <class T>
void put(std::byte* to, const std::vector<T>& values) {
  if (!values.empty()) std::memcpy(to, values.data(), values.size() * sizeof(T));
}

}  // namespace

GpuStep::GpuStep(const cuda::Stream& stream) : stream_(stream) {
  check_cuda(cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming), "cudaEventCreate");
}

GpuStep::~GpuStep() { cudaEventDestroy(copied_); }

const int32_t* GpuStep::tokens() const { return device<int32_t>(sections_.tokens); }
const int32_t* GpuStep::gathered_rows() const { return device<int32_t>(sections_.gathered); }

void GpuStep::load(const Step& step, const AttentionHeads& heads) {
  cut(step, heads);
  reserve(step, heads);
  copy(step);
}

// Chunks of one token become parts of their contexts, the others tiles.
void GpuStep::cut(const Step& step, const AttentionHeads& heads) {
  parts_.clear();
  prompt_rows_.clear();
  tiles_.clear();
  blocks_.clear();
  most_parts_ = 0;
  if (heads.heads == 0) return;
  int64_t decoding = 0, context = 0;
  for (const SequenceChunk& chunk : step.chunks) {
    if (chunk.tokens != 1) continue;
    ++decoding;
    context += chunk.position;
  }
  // A recorded step may meet any sequences in its rows, with any contexts: what it is recorded with
  // depends on its rows alone.
  const bool recurs = decoding == std::ssize(step.chunks);
  const int64_t lanes = recurs ? std::ssize(step.tokens) : decoding;
  const int64_t extra = extra_parts(lanes, stream_.multiprocessors, heads);
  const int64_t even = (context + extra - 1) / extra;
  const int64_t part_tokens = std::max(kLeastPart, (even + kPage - 1) / kPage * kPage);
  const int tile_tokens = cuda::prompt_tile_tokens(stream_, heads.head_dim, heads.group());
  for (const SequenceChunk& chunk : step.chunks) {
    const auto first_block = static_cast<int32_t>(blocks_.size());
    blocks_.insert(blocks_.end(), chunk.blocks.begin(), chunk.blocks.end());
    if (chunk.tokens == 1) {
      cut_context(chunk, first_block, part_tokens);
    } else {
      cut_prompt(chunk, first_block, tile_tokens);
    }
  }
  // Tiles that see most are begun first.
  std::sort(tiles_.begin(), tiles_.end(), [](const auto& a, const auto& b) {
    return a.position != b.position ? a.position > b.position : a.row < b.row;
  });
  if (decoding == 0) return;
  most_parts_ = static_cast<int>(lanes + extra);
  parts_.resize(static_cast<size_t>(most_parts_), {.row = -1});
}

void GpuStep::cut_context(const SequenceChunk& chunk, int32_t first_block, int64_t part_tokens) {
  const int64_t parts = std::max<int64_t>(1, (chunk.position + part_tokens - 1) / part_tokens);
  for (int64_t part = 0; part < parts; ++part) {
    parts_.push_back(
        {.row = static_cast<int32_t>(chunk.first_row),
         .position = static_cast<int32_t>(chunk.position),
         .begin = static_cast<int32_t>(part * part_tokens),
         .end = static_cast<int32_t>(std::min(chunk.position, (part + 1) * part_tokens)),
         .first_block = first_block,
         .rotation = chunk.rotation,
         .part = static_cast<int32_t>(part),
         .parts = static_cast<int32_t>(parts)});
  }
}

void GpuStep::cut_prompt(const SequenceChunk& chunk, int32_t first_block, int tile_tokens) {
  for (int64_t token = 0; token < chunk.tokens; ++token) {
    prompt_rows_.push_back({.row = static_cast<int32_t>(chunk.first_row + token),
                            .position = static_cast<int32_t>(chunk.position + token),
                            .first_block = first_block,
                            .rotation = chunk.rotation});
  }
  for (int64_t token = 0; token < chunk.tokens; token += tile_tokens) {
    tiles_.push_back(
        {.row = static_cast<int32_t>(chunk.first_row + token),
         .tokens = static_cast<int32_t>(std::min<int64_t>(tile_tokens, chunk.tokens - token)),
         .position = static_cast<int32_t>(chunk.position + token),
         .first_block = first_block});
  }
}

void GpuStep::reserve(const Step& step, const AttentionHeads& heads) {
  Sections s = sections_;
  const int64_t rows = std::max(std::ssize(step.tokens), std::ssize(step.gathered_rows));
  s.rows = room_for(rows, s.rows, 256);
  s.parts = room_for(most_parts_, s.parts, 256);
  s.blocks = room_for(std::ssize(blocks_), s.blocks, 16384);
  s.tiles = room_for(std::ssize(tiles_), s.tiles, 256);
  size_t at = 0;
  const auto section = [&](int64_t count, size_t bytes) {
    const size_t begin = at;
    at += (static_cast<size_t>(count) * bytes + kAlignment - 1) / kAlignment * kAlignment;
    return begin;
  };
  s.tokens = section(s.rows, sizeof(int32_t));
  s.gathered = section(s.rows, sizeof(int32_t));
  s.part_list = section(s.parts, sizeof(cuda::DecodePart));
  s.block_list = section(s.blocks, sizeof(int32_t));
  s.prompt_rows = section(s.rows, sizeof(cuda::PromptRow));
  s.tile_list = section(s.tiles, sizeof(cuda::PromptTile));
  s.bytes = at;
  check_cuda(cudaEventSynchronize(copied_), "cudaEventSynchronize");
  if (!device_ || s.bytes != sections_.bytes) {
    check_cuda(cudaStreamSynchronize(stream_.handle), "cudaStreamSynchronize");
    host_ = std::make_unique<PinnedMemory>(s.bytes);
    device_ = std::make_unique<GpuMemory>(s.bytes);
    ++moves_;
  }
  sections_ = s;
  if (heads.heads == 0) return;
  const auto floats = static_cast<size_t>(
      cuda::decode_partial_floats(s.parts, heads.heads, heads.kv_heads, heads.head_dim));
  const auto arrivals =
      static_cast<size_t>(cuda::decode_arrivals(s.parts, heads.heads, heads.kv_heads));
  if (!partials_ || partials_->bytes() < floats * sizeof(float) ||
      arrivals_->bytes() < arrivals * sizeof(int32_t)) {
    check_cuda(cudaStreamSynchronize(stream_.handle), "cudaStreamSynchronize");
    partials_.reset();
    partials_ = std::make_unique<GpuMemory>(floats * sizeof(float));
    arrivals_ = std::make_unique<GpuMemory>(arrivals * sizeof(int32_t));
    ++moves_;
  }
}

void GpuStep::copy(const Step& step) {
  const Sections& s = sections_;
  std::byte* host = host_->data();
  if (!step.tokens.empty()) {
    std::memcpy(host + s.tokens, step.tokens.data(), step.tokens.size_bytes());
  }
  auto* gathered = reinterpret_cast<int32_t*>(host + s.gathered);
  std::transform(step.gathered_rows.begin(), step.gathered_rows.end(), gathered,
                 [](int64_t row) { return static_cast<int32_t>(row); });
  put(host + s.part_list, parts_);
  put(host + s.block_list, blocks_);
  put(host + s.prompt_rows, prompt_rows_);
  put(host + s.tile_list, tiles_);
  const size_t bytes = prompt_rows_.empty() ? s.block_list + blocks_.size() * sizeof(int32_t)
                                            : s.tile_list + tiles_.size() * sizeof(tiles_[0]);
  check_cuda(cudaMemcpyAsync(device_->data(), host, bytes, cudaMemcpyHostToDevice, stream_.handle),
             "cudaMemcpyAsync");
  check_cuda(cudaEventRecord(copied_, stream_.handle), "cudaEventRecord");
  attention_ = {.parts = device<cuda::DecodePart>(s.part_list),
                .most_parts = most_parts_,
                .prompt_rows = device<cuda::PromptRow>(s.prompt_rows),
                .prompt_row_count = static_cast<int>(prompt_rows_.size()),
                .tiles = device<cuda::PromptTile>(s.tile_list),
                .tile_count = static_cast<int>(tiles_.size()),
                .blocks = device<int32_t>(s.block_list)};
  if (partials_) {
    attention_.partials = reinterpret_cast<float*>(partials_->data());
    attention_.arrivals = reinterpret_cast<int32_t*>(arrivals_->data());
  }
}

}  // namespace dinfer
