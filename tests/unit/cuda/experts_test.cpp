// Mixtures of experts on a GPU against the same sums in double precision. Skips where there is no
// GPU.
#include "kernels/cuda/experts.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/cuda/device_array.h"
#include "tests/unit/cuda/matrices.h"
#include "tests/unit/cuda/stream_test.h"

namespace dinfer::cuda {
namespace {

struct Shape {
  int64_t experts = 0, chosen = 0, hidden = 0, ffn = 0;
};

struct How {
  DType router = DType::f32;
  bool normalized = true;
  Activation activation = Activation::silu;
  bool add = false;
  bool equal_scores = false;  // every expert's
};

// A matrix of a form, by its rows and columns.
using Make = std::function<HostMatrix(Random&, int64_t rows, int64_t columns)>;

Make dense(DType type) {
  return [=](Random& random, int64_t rows, int64_t columns) {
    return random_dense(random, type, rows, columns);
  };
}

Make grouped(const GroupedForm& form) {
  return [=](Random& random, int64_t rows, int64_t columns) {
    return random_grouped(random, form, rows, columns);
  };
}

// A matrix on the host and on the GPU.
class Uploaded {
 public:
  // A stack of so many, or with none of them a matrix of its own.
  Uploaded(const Stream& stream, const HostMatrix& matrix, int64_t count = 0)
      : host_(matrix),
        packed_host_(count > 0 ? stack_in_panels(matrix, count) : matrix),
        packed_(packed_form(packed_host_)),
        memory_(packed_.bytes()) {
    const DeviceArray<std::byte> staging(staging_bytes(packed_host_));
    packed_.data = memory_.data();
    upload(stream, packed_host_, packed_, staging.data(), copy_rows);
    require(cudaStreamSynchronize(stream.handle), "cudaStreamSynchronize");
  }
  const PackedMatrix& packed() const { return packed_; }

  // Products of rows [begin, end) with x.
  std::vector<double> products(int64_t begin, int64_t end, const std::vector<double>& x) const {
    return std::visit(
        [&](const auto& m) {
          std::vector<double> sums;
          for (int64_t r = begin; r < end; ++r) {
            double sum = 0;
            for (int64_t c = 0; c < m.columns; ++c) sum += value_of(m, r, c) * x[c];
            sums.push_back(sum);
          }
          return sums;
        },
        host_);
  }

 private:
  HostMatrix host_, packed_host_;
  PackedMatrix packed_;
  DeviceArray<std::byte> memory_;
};

HostMatrix router_of(Random& random, const Shape& shape, const How& how) {
  HostMatrix router = random_dense(random, how.router, shape.experts, shape.hidden);
  if (how.equal_scores) std::ranges::fill(std::get<DenseMatrix>(router).data, std::byte{0});
  return router;
}

// One layer.
class Layer {
 public:
  Layer(const Stream& stream, Random& random, const Shape& shape, const Make& make, How how)
      : stream_(stream),
        shape_(shape),
        how_(how),
        norm_(random_values(random, shape.hidden)),
        norm_device_(norm_),
        router_(stream, router_of(random, shape, how)),
        gate_up_(stream, make(random, shape.experts * 2 * shape.ffn, shape.hidden), shape.experts),
        down_(stream, make(random, shape.experts * shape.hidden, shape.ffn), shape.experts) {}

  ExpertMixture mixture(int64_t rows) const {
    return {.rows = rows,
            .hidden = shape_.hidden,
            .norm = norm_device_.data(),
            .epsilon = 1e-5f,
            .router = router_.packed(),
            .gate_up = gate_up_.packed(),
            .down = down_.packed(),
            .experts = shape_.experts,
            .chosen = shape_.chosen,
            .normalized = how_.normalized,
            .activation = how_.activation,
            .out_columns = shape_.hidden,
            .add = how_.add};
  }

  // What the GPU makes of rows x, where `before` is in their place. All other memory holds what is
  // no number.
  std::vector<float> run(const std::vector<float>& x, const std::vector<float>& before) const {
    const DeviceArray<float> in(x), out(before);
    ExpertMixture m = mixture(std::ssize(x) / shape_.hidden);
    m.in = in.data();
    m.out = out.data();
    const size_t bytes = experts_workspace_bytes(m);
    const DeviceArray<std::byte> workspace(bytes);
    require(cudaMemset(workspace.data(), 0xff, bytes), "cudaMemset");
    mix_experts(stream_, m, workspace.data());
    require(cudaStreamSynchronize(stream_.handle), "cudaStreamSynchronize");
    return out.host();
  }

  // The right values for one row; none where two experts are too near for a choice.
  std::vector<double> expected(const float* x, const float* before) const {
    double squares = 0;
    for (int64_t c = 0; c < shape_.hidden; ++c) squares += double{x[c]} * x[c];
    std::vector<double> row(shape_.hidden);
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(shape_.hidden) + 1e-5);
    for (int64_t c = 0; c < shape_.hidden; ++c) row[c] = x[c] * inverse * norm_[c];
    const std::vector<double> scores = router_.products(0, shape_.experts, row);
    std::vector<int64_t> order(shape_.experts);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater{}, [&](int64_t e) { return scores[e]; });
    if (shape_.chosen < shape_.experts) {
      const double gap = scores[order[shape_.chosen - 1]] - scores[order[shape_.chosen]];
      if (gap > 0 && gap < 1e-4) return {};
    }
    double all = 0, of_chosen = 0;
    for (int64_t i = 0; i < shape_.experts; ++i) {
      const double p = std::exp(scores[order[i]] - scores[order[0]]);
      all += p;
      if (i < shape_.chosen) of_chosen += p;
    }
    std::vector<double> sums(shape_.hidden);
    for (int64_t c = 0; how_.add && c < shape_.hidden; ++c) sums[c] = before[c];
    for (int64_t i = 0; i < shape_.chosen; ++i) {
      const int64_t e = order[i];
      const double weight =
          std::exp(scores[e] - scores[order[0]]) / (how_.normalized ? of_chosen : all);
      const std::vector<double> gate_up =
          gate_up_.products(e * 2 * shape_.ffn, (e + 1) * 2 * shape_.ffn, row);
      std::vector<double> inner(shape_.ffn);
      for (int64_t c = 0; c < shape_.ffn; ++c) {
        inner[c] = activated(how_.activation, gate_up[c]) * gate_up[shape_.ffn + c];
      }
      const std::vector<double> out =
          down_.products(e * shape_.hidden, (e + 1) * shape_.hidden, inner);
      for (int64_t c = 0; c < shape_.hidden; ++c) sums[c] += weight * out[c];
    }
    return sums;
  }

  int64_t hidden() const { return shape_.hidden; }

 private:
  Stream stream_;
  Shape shape_;
  How how_;
  std::vector<float> norm_;
  DeviceArray<float> norm_device_;
  Uploaded router_, gate_up_, down_;
};

class CudaExperts : public StreamTest {
 protected:
  // The worst relative error of some of the rows.
  double error(const Layer& layer, int64_t rows, int64_t looked_at = 12) {
    const std::vector<float> x = random_values(random_, rows * layer.hidden());
    const std::vector<float> before = random_values(random_, rows * layer.hidden(), 0.01f);
    const std::vector<float> got = layer.run(x, before);
    double worst = 0;
    for (int64_t i = 0; i < std::min(rows, looked_at); ++i) {
      const int64_t at = i * rows / std::min(rows, looked_at) * layer.hidden();
      const std::vector<double> wanted = layer.expected(x.data() + at, before.data() + at);
      double off = 0, size = 1e-30;
      for (size_t c = 0; c < wanted.size(); ++c) {
        off += std::pow(got[at + c] - wanted[c], 2);
        size += std::pow(wanted[c], 2);
      }
      const double relative = std::sqrt(off / size);
      worst = std::isfinite(relative) ? std::max(worst, relative) : 1e9;
    }
    return worst;
  }

  void expect_right(const Shape& shape, const Make& make, double tolerance,
                    const std::vector<int64_t>& counts, const How& how = {}) {
    const Layer layer(stream_, random_, shape, make, how);
    for (const int64_t rows : counts) {
      EXPECT_LT(error(layer, rows), tolerance)
          << rows << " rows of " << shape.hidden << ", " << shape.chosen << " of " << shape.experts
          << " experts of " << shape.ffn;
    }
  }

  Random random_{2468};
};

const std::vector<int64_t> kCounts{1, 2, 7, 16, 17, 64, 300};

// Of a row: inputs and inner values are rounded to the type, and small sums are of large numbers.
double tolerance_of(DType type) {
  return type == DType::f32 ? 1e-5 : type == DType::f16 ? 2e-3 : 1.2e-2;
}
constexpr double kGroupedTolerance = 8e-3;

TEST_F(CudaExperts, DenseExpertsOfAnyShape) {
  for (const DType type : {DType::bf16, DType::f16, DType::f32}) {
    SCOPED_TRACE(name_of(type));
    for (const Shape& shape : {Shape{4, 2, 64, 12}, Shape{8, 2, 100, 37}, Shape{3, 2, 72, 144},
                               Shape{40, 8, 128, 96}, Shape{130, 4, 256, 48}}) {
      expect_right(shape, dense(type), tolerance_of(type), kCounts);
    }
  }
}

TEST_F(CudaExperts, GroupedExpertsOfEveryForm) {
  for (const int bits : {4, 8}) {
    for (const int group : {16, 32, 64, 128}) {
      for (const bool symmetric : {true, false}) {
        for (const bool half : {true, false}) {
          SCOPED_TRACE(std::to_string(bits) + " bits, groups of " + std::to_string(group) +
                       (symmetric ? ", symmetric, " : ", minimums, ") +
                       (half ? "f16 scales" : "f32 scales"));
          const Make make = grouped({bits, group, symmetric, half});
          expect_right({5, 2, 3 * group, group}, make, kGroupedTolerance, kCounts);
          expect_right({12, 4, 5 * group, 3 * group}, make, kGroupedTolerance, {1, 30, 150});
        }
      }
    }
  }
}

TEST_F(CudaExperts, EveryWayToMix) {
  const Shape shape{8, 3, 96, 64};
  for (const DType router : {DType::bf16, DType::f16, DType::f32}) {
    for (const bool normalized : {true, false}) {
      expect_right(shape, dense(DType::f32), 1e-5, {1, 5, 9, 70},
                   {.router = router, .normalized = normalized, .add = normalized});
    }
  }
  for (const Activation activation : {Activation::gelu, Activation::gelu_tanh}) {
    expect_right(shape, dense(DType::f16), 2e-3, {1, 20, 200}, {.activation = activation});
  }
  expect_right({5, 5, 96, 64}, dense(DType::f32), 1e-5, {3, 90});
  expect_right({kMostExperts, 33, 66, 16}, dense(DType::f32), 1e-5, {2, 100});
  // Of experts that score the same, the first ones.
  expect_right({40, 7, 64, 16}, dense(DType::f32), 1e-5, {1, 80}, {.equal_scores = true});
}

TEST_F(CudaExperts, LargeExperts) {
  const Shape many{24, 8, 2048, 768}, few{4, 2, 4096, 3584};
  for (const Shape& shape : {many, few}) {
    for (const Make& make :
         {dense(DType::bf16), grouped({4, 32, false, true}), grouped({8, 128, true, true})}) {
      const Layer layer(stream_, random_, shape, make, {});
      for (const int64_t rows : {1, 16, 300}) {
        EXPECT_LT(error(layer, rows, 2), tolerance_of(DType::bf16)) << rows << " rows";
      }
    }
  }
}

// What GPUs of compute capability 8.6, 8.9 and 12.0 have. No launch asks for more than its stream
// has.
TEST_F(CudaExperts, LittleSharedMemory) {
  stream_.shared_memory = kLeastSharedMemory;
  const Shape shape{4, 2, 512, 256};
  expect_right(shape, dense(DType::bf16), tolerance_of(DType::bf16), {1, 30, 300});
  for (const int bits : {4, 8})
    expect_right(shape, grouped({bits, 16, false, false}), kGroupedTolerance, {1, 30, 300});
}

// What a row gives does not depend on where it is, nor on the other rows, if there are as many.
TEST_F(CudaExperts, SameBitsEachTimeInAnyOrder) {
  for (const int64_t rows : {3, 40, 300}) {
    const Layer layer(stream_, random_, {12, 4, 256, 192}, grouped({4, 64, false, true}), {});
    const std::vector<float> x = random_values(random_, rows * layer.hidden());
    const std::vector<float> before(x.size());
    const std::vector<float> once = layer.run(x, before);
    EXPECT_EQ(once, layer.run(x, before));
    std::vector<float> turned, expected;
    for (int64_t i = rows - 1; i >= 0; --i) {
      turned.insert(turned.end(), x.begin() + i * layer.hidden(),
                    x.begin() + (i + 1) * layer.hidden());
      expected.insert(expected.end(), once.begin() + i * layer.hidden(),
                      once.begin() + (i + 1) * layer.hidden());
    }
    EXPECT_EQ(expected, layer.run(turned, before));
  }
}

// A recorded call finds the experts of other rows by itself.
TEST_F(CudaExperts, RecordedCallsGiveTheSame) {
  for (const int64_t rows : {1, 24, 200}) {
    const Layer layer(stream_, random_, {16, 4, 256, 96}, dense(DType::bf16), {});
    const DeviceArray<float> in(rows * layer.hidden()), out(rows * layer.hidden());
    ExpertMixture m = layer.mixture(rows);
    m.in = in.data();
    m.out = out.data();
    const DeviceArray<std::byte> workspace(experts_workspace_bytes(m));
    mix_experts(stream_, m, workspace.data());
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t recorded = nullptr;
    require(cudaStreamBeginCapture(handle_, cudaStreamCaptureModeThreadLocal), "BeginCapture");
    mix_experts(stream_, m, workspace.data());
    require(cudaStreamEndCapture(handle_, &graph), "EndCapture");
    require(cudaGraphInstantiate(&recorded, graph, 0), "GraphInstantiate");
    for (int step = 0; step < 3; ++step) {
      const std::vector<float> x = random_values(random_, rows * layer.hidden());
      require(cudaMemcpy(in.data(), x.data(), x.size() * sizeof(float), cudaMemcpyHostToDevice),
              "cudaMemcpy");
      require(cudaGraphLaunch(recorded, handle_), "GraphLaunch");
      require(cudaStreamSynchronize(handle_), "cudaStreamSynchronize");
      EXPECT_EQ(out.host(), layer.run(x, std::vector<float>(x.size())));
    }
    cudaGraphExecDestroy(recorded);
    cudaGraphDestroy(graph);
  }
}

}  // namespace
}  // namespace dinfer::cuda
