#pragma once

#include <cstdint>
#include <memory>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "device/cpu_device.h"

namespace dinfer {

// An implementation of Device under test, and how far it may be from the reference: the norm of the
// difference over the norm of the expected values.
struct Implementation {
  std::string name;
  bool cuda = false;       // the first GPU; else the CPU with:
  int64_t hwy_target = 0;  // best instruction set to be used; 0: the machine's best
  CpuOptions options;
  double tolerance = 0.0;
  bool same_bits_in_any_batch = true;
};

inline void PrintTo(const Implementation& implementation, std::ostream* out) {
  *out << implementation.name;
}

std::vector<Implementation> implementations();

// Floats in the memory of a device.
class DeviceFloats {
 public:
  DeviceFloats(Device& device, std::span<const float> values);
  Tensor tensor(int64_t rows, int64_t columns) const;
  const float* data() const { return reinterpret_cast<const float*>(buffer_->data()); }
  std::vector<float> values() const;  // as they are now

 private:
  Device& device_;
  std::unique_ptr<Buffer> buffer_;
};

// Makes the device, with its kernels held to the instruction set for as long as this lives.
class DeviceUnderTest {
 public:
  explicit DeviceUnderTest(const Implementation& implementation);
  ~DeviceUnderTest();
  Device& operator*() { return *device_; }
  Device* operator->() { return device_.get(); }

 private:
  std::unique_ptr<Device> device_;
};

std::vector<float> random_floats(size_t count, unsigned seed, float spread = 1.0f);

DenseMatrix random_dense(DType type, int64_t rows, int64_t columns, unsigned seed);

// Scales are f16 numbers if `half_scales`, else they need all of f32.
GroupedMatrix random_grouped(int bits, int group, bool symmetric, bool half_scales, int64_t rows,
                             int64_t columns, unsigned seed);

// |actual - expected| / |expected|, as vectors.
double relative_error(std::span<const float> actual, std::span<const float> expected);

}  // namespace dinfer
