#include "tests/conformance/device_support.h"

#include <cmath>
#include <cstring>

#include <hwy/highway.h>
#include <hwy/targets.h>

#if DINFER_HAS_CUDA
#include "device/gpu_device.h"
#endif

namespace dinfer {
namespace {

void hold_kernels_to(int64_t target) {
  // All targets that are not better than this one: a better one has a lower bit.
  hwy::SetSupportedTargetsForTest(target == 0 ? 0 : hwy::SupportedTargets() & ~(target - 1));
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

#if DINFER_HAS_CUDA
int gpus() { return visible_gpus(); }
std::unique_ptr<Device> make_gpu() { return make_gpu_device(0); }
#else
int gpus() { return 0; }
std::unique_ptr<Device> make_gpu() { return nullptr; }
#endif

}  // namespace

std::vector<Implementation> implementations() {
  std::vector<Implementation> all;
  const CpuOptions exact{.threads = 2, .math = CpuMath::f32};
  const CpuOptions fast{.threads = 2, .math = CpuMath::automatic};
  const int64_t here = hwy::SupportedTargets() & HWY_TARGETS;
  for (int64_t left = here; left != 0; left &= left - 1) {
    const int64_t target = left & -left;
    const std::string name = hwy::TargetName(target);
    all.push_back({"CpuF32_" + name, false, target, exact, 2e-5});
    all.push_back({"CpuAutomatic_" + name, false, target, fast, 1e-4});
  }
  if (cpu_kernel_target().ends_with("AMX")) {
    CpuOptions without_tiles = fast;
    without_tiles.tiles = false;
    all.push_back({"CpuAutomatic_WithoutTiles", false, 0, without_tiles, 1e-4});
  }
  if (gpus() > 0) {
    all.push_back(
        {.name = "Cuda", .cuda = true, .tolerance = 5e-3, .same_bits_in_any_batch = false});
  }
  return all;
}

DeviceUnderTest::DeviceUnderTest(const Implementation& implementation) {
  hold_kernels_to(implementation.hwy_target);
  device_ = implementation.cuda ? make_gpu() : make_cpu_device(implementation.options);
}

DeviceUnderTest::~DeviceUnderTest() { hold_kernels_to(0); }

DeviceFloats::DeviceFloats(Device& device, std::span<const float> values)
    : device_(device), buffer_(device.allocate(values.size_bytes())) {
  device.copy_in(buffer_->data(), std::as_bytes(values));
}

Tensor DeviceFloats::tensor(int64_t rows, int64_t columns) const {
  check(rows * columns * sizeof(float) <= buffer_->bytes(), "a tensor fits its floats");
  return {reinterpret_cast<float*>(buffer_->data()), rows, columns};
}

std::vector<float> DeviceFloats::values() const {
  std::vector<float> host(buffer_->bytes() / sizeof(float));
  device_.copy_out(std::as_writable_bytes(std::span(host)), buffer_->data());
  return host;
}

std::vector<float> random_floats(size_t count, unsigned seed, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

DenseMatrix random_dense(DType type, int64_t rows, int64_t columns, unsigned seed) {
  DenseMatrix m{.type = type, .rows = rows, .columns = columns, .data = {}};
  m.data.resize(rows * columns * bytes_of(type));
  const std::vector<float> values = random_floats(rows * columns, seed);
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == DType::f32) {
      std::memcpy(m.data.data() + 4 * i, &values[i], 4);
    } else {
      const uint16_t bits = type == DType::f16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
      std::memcpy(m.data.data() + 2 * i, &bits, 2);
    }
  }
  return m;
}

GroupedMatrix random_grouped(int bits, int group, bool symmetric, bool half_scales, int64_t rows,
                             int64_t columns, unsigned seed) {
  GroupedMatrix m{.bits = bits, .group = group, .rows = rows, .columns = columns};
  std::mt19937 random(seed);
  m.codes.resize(rows * columns * bits / 8);
  for (uint8_t& code : m.codes) code = static_cast<uint8_t>(random());
  const float middle = bits == 4 ? 7.5f : 127.5f;
  for (int64_t i = 0; i < rows * m.groups(); ++i) {
    float scale = (1.0f + static_cast<float>(random() % 1000) / 1000.0f) / middle;
    if (half_scales) scale = f16_to_f32(f32_to_f16(scale));
    m.scales.push_back(scale);
    if (symmetric) continue;
    float minimum = -scale * middle * (0.8f + static_cast<float>(random() % 1000) / 2500.0f);
    if (half_scales) minimum = f16_to_f32(f32_to_f16(minimum));
    m.minimums.push_back(minimum);
  }
  return m;
}

double relative_error(std::span<const float> actual, std::span<const float> expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(double{actual[i]} - expected[i], 2);
    norm += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(difference / norm);
}

}  // namespace dinfer
