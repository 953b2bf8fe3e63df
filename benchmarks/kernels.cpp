// kernels: the CPU kernels on the shapes of real models, beside the ceiling of the memory.
//
//   kernels [--threads N] [--cores 0,1] [--shape smollm2|llama-1b] [--bits 4|8|16] [--rows 1,512]
//           [--math automatic|f32] [--tiles on|off] [--seconds S]
//
// Goes through all layers of a model with random weights as its forward pass does, `rows` tokens at
// a time after a context of `rows` tokens at most 512, and prints for each operation the time and
// the rate at which it reads weights (GB/s) and multiplies (GMAC/s). The last line is a whole pass.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <string>

#include "device/cpu_device.h"

namespace dinfer {
namespace {

using Clock = std::chrono::steady_clock;

struct Shape {
  int64_t layers, hidden, ffn, heads, kv_heads, head_dim, vocabulary;
};

const std::map<std::string, Shape> kShapes = {
    {"smollm2", {30, 576, 1536, 9, 3, 64, 49152}},
    {"llama-1b", {16, 2048, 8192, 32, 8, 64, 128256}},
};

struct Settings {
  CpuOptions cpu;
  Shape shape;
  int bits = 4;
  std::vector<int64_t> rows = {1, 512};
  double seconds = 2.0;
};

// bits 4: asymmetric, f16 scales (Q4_1); 8: symmetric (Q8_0); 16: bf16.
HostMatrix random_matrix(int bits, int64_t rows, int64_t columns) {
  std::mt19937 random(1);
  if (bits == 16) {
    DenseMatrix m{.type = DType::bf16, .rows = rows, .columns = columns, .data = {}};
    m.data.resize(rows * columns * 2);
    auto* values = reinterpret_cast<uint16_t*>(m.data.data());
    for (int64_t i = 0; i < rows * columns; ++i) {
      values[i] = f32_to_bf16(static_cast<float>(random() % 1000) / 20000.0f - 0.025f);
    }
    return m;
  }
  GroupedMatrix m{.bits = bits, .group = 32, .rows = rows, .columns = columns};
  m.codes.resize(rows * columns * bits / 8);
  for (uint8_t& code : m.codes) code = static_cast<uint8_t>(random());
  m.scales.assign(rows * m.groups(), bits == 4 ? 0.0078125f : 0.00048828125f);
  if (bits == 4) m.minimums.assign(m.scales.size(), -0.0625f);
  return m;
}

struct Layer {
  std::unique_ptr<Weight> qkv, o, gate_up, down;
  std::unique_ptr<Buffer> keys, values;
};

// Time and work of one kind of operation.
struct Tally {
  double seconds = 0;
  double bytes = 0;
  double products = 0;
};

// Rows of floats in the memory of the CPU device.
class Floats {
 public:
  Floats(int64_t rows, int64_t columns) : columns_(columns), data_(rows * columns) {}
  Tensor tensor(int64_t rows) { return {data_.data(), rows, columns_}; }

 private:
  int64_t columns_;
  std::vector<float> data_;
};

struct Activations {
  Activations(const Shape& s, int64_t rows)
      : hidden(rows, s.hidden),
        qkv(rows, (s.heads + 2 * s.kv_heads) * s.head_dim),
        mixed(rows, s.heads * s.head_dim),
        gate_up(rows, 2 * s.ffn),
        logits(1, s.vocabulary) {}
  Floats hidden, qkv, mixed, gate_up, logits;
};

class Model {
 public:
  explicit Model(const Settings& settings)
      : settings_(settings), device_(make_cpu_device(settings.cpu)) {
    const Shape& s = settings.shape;
    const HostMatrix qkv =
        random_matrix(settings.bits, (s.heads + 2 * s.kv_heads) * s.head_dim, s.hidden);
    const HostMatrix o = random_matrix(settings.bits, s.hidden, s.heads * s.head_dim);
    const HostMatrix gate_up = random_matrix(settings.bits, 2 * s.ffn, s.hidden);
    const HostMatrix down = random_matrix(settings.bits, s.hidden, s.ffn);
    const HostMatrix head = random_matrix(std::max(settings.bits, 8), s.vocabulary, s.hidden);
    const auto start = Clock::now();
    const int64_t kv = kBlocks * kBlock * s.kv_heads * s.head_dim * bytes_of(device_->kv_type());
    for (int64_t i = 0; i < s.layers; ++i) {
      layers_.push_back({device_->upload(qkv), device_->upload(o), device_->upload(gate_up),
                         device_->upload(down), device_->allocate(kv), device_->allocate(kv)});
    }
    head_ = device_->upload(head);
    load_seconds_ = std::chrono::duration<double>(Clock::now() - start).count();
    norm_.assign(std::max(s.hidden, s.ffn), 1.0f);
    cosine_.assign(kBlocks * kBlock * s.head_dim / 2, 0.6f);
    sine_.assign(cosine_.size(), 0.8f);
    for (int32_t b = 0; b < kBlocks; ++b) blocks_.push_back(b);
  }

  void run(int64_t rows) {
    const Shape& s = settings_.shape;
    Activations to(s, rows);
    const std::vector<int32_t> tokens(rows, 7);
    const SequenceChunk chunk{0, rows, rows == 1 ? 64 : 0, blocks_};
    const Step step{.tokens = tokens, .chunks = {&chunk, 1}, .gathered_rows = {}};
    std::map<std::string, Tally> best;
    double best_pass = 1e9;
    const auto until = Clock::now() + std::chrono::duration<double>(settings_.seconds);
    int passes = 0;
    while (passes < 3 || Clock::now() < until) {
      ++passes;
      std::map<std::string, Tally> pass;
      const auto start = Clock::now();
      device_->run(step, false, [&] { forward(rows, to, pass); });
      best_pass = std::min(best_pass, std::chrono::duration<double>(Clock::now() - start).count());
      for (const auto& [name, tally] : pass) {
        Tally& kept = best[name];
        if (kept.seconds == 0 || tally.seconds < kept.seconds) kept = tally;
      }
    }
    print(rows, best, best_pass);
  }

  double load_seconds() const { return load_seconds_; }
  double weight_bytes() const {
    double bytes = head_->bytes();
    for (const Layer& l : layers_) {
      bytes += l.qkv->bytes() + l.o->bytes() + l.gate_up->bytes() + l.down->bytes();
    }
    return bytes;
  }

 private:
  static constexpr int kBlock = 16;
  static constexpr int32_t kBlocks = 40;

  void forward(int64_t rows, Activations& to, std::map<std::string, Tally>& pass) {
    const Shape& s = settings_.shape;
    const Tensor hidden = to.hidden.tensor(rows), qkv = to.qkv.tensor(rows),
                 mixed = to.mixed.tensor(rows), gate_up = to.gate_up.tensor(rows);
    const RopeTable rope{cosine_.data(), sine_.data(), kBlocks * kBlock, s.head_dim};
    const AttentionSpec attention{.heads = s.heads, .scale = 0.125f};
    time(pass["embed"], nullptr, rows, [&] { device_->embed(*head_, 0, 1.0f, hidden); });
    for (const Layer& l : layers_) {
      const KvLayer cache{l.keys->data(), l.values->data(), device_->kv_type(),
                          kBlock,         s.kv_heads,       s.head_dim};
      time(pass["norm_qkv"], l.qkv.get(), rows,
           [&] { device_->norm_linear(hidden, norm_.data(), 1e-5f, *l.qkv, nullptr, qkv); });
      time(pass["attend"], nullptr, rows, [&] {
        device_->attend(qkv, attention, {&rope, 1}, cache, mixed);
      });
      time(pass["o"], l.o.get(), rows,
           [&] { device_->linear(mixed, *l.o, nullptr, hidden, Output::added_to); });
      time(pass["norm_gate_up"], l.gate_up.get(), rows, [&] {
        device_->norm_linear(hidden, norm_.data(), 1e-5f, *l.gate_up, nullptr, gate_up);
      });
      time(pass["gated_down"], l.down.get(), rows, [&] {
        device_->gated_linear(gate_up, Activation::silu, *l.down, nullptr, hidden,
                              Output::added_to);
      });
    }
    time(pass["head"], head_.get(), 1, [&] {
      device_->norm_linear(to.hidden.tensor(1), norm_.data(), 1e-5f, *head_, nullptr,
                           to.logits.tensor(1));
    });
  }

  static void time(Tally& tally, const Weight* weight, int64_t rows,
                   const std::function<void()>& call) {
    const auto start = Clock::now();
    call();
    tally.seconds += std::chrono::duration<double>(Clock::now() - start).count();
    if (!weight) return;
    tally.bytes += weight->bytes();
    tally.products += static_cast<double>(rows) * weight->rows() * weight->columns();
  }

  void print(int64_t rows, const std::map<std::string, Tally>& best, double pass) const {
    for (const auto& [name, t] : best) {
      fmt::print("{:5} rows  {:14} {:9.3f} ms", rows, name, t.seconds * 1e3);
      if (t.bytes > 0) {
        fmt::print("  {:7.1f} GB/s  {:7.1f} GMAC/s", t.bytes / t.seconds / 1e9,
                   t.products / t.seconds / 1e9);
      }
      fmt::print("\n");
    }
    fmt::print("{:5} rows  {:14} {:9.3f} ms  {:7.1f} GB/s  {:9.1f} tok/s\n\n", rows, "a pass",
               pass * 1e3, weight_bytes() / pass / 1e9, rows / pass);
  }

  Settings settings_;
  std::unique_ptr<Device> device_;
  std::vector<Layer> layers_;
  std::unique_ptr<Weight> head_;
  std::vector<float> norm_, cosine_, sine_;
  std::vector<int32_t> blocks_;
  double load_seconds_ = 0;
};

std::vector<int64_t> numbers(const std::string& text) {
  std::vector<int64_t> all;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    int64_t number = 0;
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc()) fail(ExitCode::usage, "not a list of numbers: {}", text);
    all.push_back(number);
    at = next + 1;
  }
  return all;
}

Settings parse(int argc, char** argv) {
  Settings settings{.cpu = {.threads = 2}, .shape = kShapes.at("smollm2")};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--threads")
      settings.cpu.threads = static_cast<int>(numbers(value).at(0));
    else if (key == "--shape" && kShapes.contains(value))
      settings.shape = kShapes.at(value);
    else if (key == "--bits")
      settings.bits = static_cast<int>(numbers(value).at(0));
    else if (key == "--rows")
      settings.rows = numbers(value);
    else if (key == "--seconds")
      settings.seconds = std::strtod(value.c_str(), nullptr);
    else if (key == "--math")
      settings.cpu.math = value == "f32" ? CpuMath::f32 : CpuMath::automatic;
    else if (key == "--tiles")
      settings.cpu.tiles = value != "off";
    else if (key == "--cores") {
      for (const int64_t core : numbers(value))
        settings.cpu.cores.push_back(static_cast<int>(core));
    } else {
      fail(ExitCode::usage, "unknown option or value: {} {}", key, value);
    }
  }
  return settings;
}

void benchmark(const Settings& settings) {
  const double ceiling = make_cpu_device(settings.cpu)->measure_read_bandwidth();
  fmt::print("{} threads, {}, read ceiling {:.1f} GB/s\n", settings.cpu.threads,
             cpu_kernel_target(), ceiling);
  Model model(settings);
  fmt::print("{:.1f} MB of weights packed in {:.3f} s\n\n", model.weight_bytes() / 1e6,
             model.load_seconds());
  for (const int64_t rows : settings.rows) model.run(rows);
}

}  // namespace
}  // namespace dinfer

int main(int argc, char** argv) {
  try {
    dinfer::benchmark(dinfer::parse(argc, argv));
    return 0;
  } catch (const dinfer::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return static_cast<int>(error.code());
  }
}
