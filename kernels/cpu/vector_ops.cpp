#include "kernels/cpu/vector_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/vector_ops.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dinfer::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void AddTo(float* into, const float* x, int64_t count) {
  const hn::ScalableTag<float> d;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    hn::StoreU(hn::Add(hn::LoadU(d, into + i), hn::LoadU(d, x + i)), d, into + i);
  }
  for (; i < count; ++i) into[i] += x[i];
}

void AddScaled(float* into, const float* x, float scale, int64_t count) {
  const hn::ScalableTag<float> d;
  const int64_t n = hn::Lanes(d);
  const auto factor = hn::Set(d, scale);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    hn::StoreU(hn::MulAdd(factor, hn::LoadU(d, x + i), hn::LoadU(d, into + i)), d, into + i);
  }
  for (; i < count; ++i) into[i] += scale * x[i];
}

uint64_t SumWords(const uint64_t* from, size_t count) {
  const hn::ScalableTag<uint64_t> d;
  const size_t n = hn::Lanes(d);
  auto a = hn::Zero(d), b = a, c = a, e = a;
  size_t i = 0;
  for (; i + 4 * n <= count; i += 4 * n) {
    a = hn::Add(a, hn::LoadU(d, from + i));
    b = hn::Add(b, hn::LoadU(d, from + i + n));
    c = hn::Add(c, hn::LoadU(d, from + i + 2 * n));
    e = hn::Add(e, hn::LoadU(d, from + i + 3 * n));
  }
  uint64_t sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
  for (; i < count; ++i) sum += from[i];
  return sum;
}

}  // namespace dinfer::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dinfer::cpu {

HWY_EXPORT(AddTo);
HWY_EXPORT(AddScaled);
HWY_EXPORT(SumWords);

void add_to(float* into, const float* x, int64_t count) {
  HWY_DYNAMIC_DISPATCH(AddTo)(into, x, count);
}

void add_scaled(float* into, const float* x, float scale, int64_t count) {
  HWY_DYNAMIC_DISPATCH(AddScaled)(into, x, scale, count);
}

uint64_t sum_words(const uint64_t* from, size_t count) {
  return HWY_DYNAMIC_DISPATCH(SumWords)(from, count);
}

}  // namespace dinfer::cpu
#endif  // HWY_ONCE
