#include "comm/gpu_nccl.h"

namespace dinfer {

std::unique_ptr<NcclGroup> NcclGroup::connect(GroupPlane&, bool, std::chrono::duration<double>,
                                              Deadline, std::string& reason) {
  reason = "this binary was built without NCCL (DINFER_NCCL)";
  return nullptr;
}

}  // namespace dinfer
