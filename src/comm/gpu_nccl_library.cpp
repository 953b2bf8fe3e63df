#include "comm/gpu_nccl_library.h"

#include <dlfcn.h>

#include <cstdlib>

#include <fmt/format.h>

namespace dinfer {
namespace {

// The first release whose communicators can be made and used without blocking, with few channels
// where that will do.
constexpr int kOldest = NCCL_VERSION(2, 18, 1);

}  // namespace

std::shared_ptr<const NcclLibrary> NcclLibrary::open(std::string& reason) {
  // NVLink multicast is left alone unless asked for: a program that ends badly while it is in use
  // can take the GPUs of the whole host out of service.
  setenv("NCCL_NVLS_ENABLE", "0", 0);
  void* handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);  // never closed: it has threads
  if (!handle) {
    const char* why = dlerror();
    reason = fmt::format(
        "NCCL cannot be loaded: {} (install libnccl2, or name its folder in "
        "LD_LIBRARY_PATH)",
        why ? why : "libnccl.so.2 not found");
    return nullptr;
  }
  auto library = std::make_shared<NcclLibrary>();
  const char* missing = nullptr;
  const auto find = [&]<class Function>(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(handle, name));
    if (!function) missing = name;
  };
  find(library->get_version, "ncclGetVersion");
  find(library->get_unique_id, "ncclGetUniqueId");
  find(library->get_error_string, "ncclGetErrorString");
  find(library->get_last_error, "ncclGetLastError");
  find(library->comm_init_rank_config, "ncclCommInitRankConfig");
  find(library->comm_get_async_error, "ncclCommGetAsyncError");
  find(library->comm_finalize, "ncclCommFinalize");
  find(library->comm_destroy, "ncclCommDestroy");
  find(library->comm_abort, "ncclCommAbort");
  find(library->all_reduce, "ncclAllReduce");
  find(library->all_gather, "ncclAllGather");
  find(library->send, "ncclSend");
  find(library->recv, "ncclRecv");
  if (!missing && library->version() >= kOldest) return library;
  const int code = library->get_version ? library->version() : 0;
  reason = fmt::format("the NCCL found is too old (version code {}, {}): 2.18 or newer is needed",
                       code, missing ? fmt::format("without {}", missing) : "all functions there");
  return nullptr;
}

int NcclLibrary::version() const {
  int code = 0;
  return get_version(&code) == ncclSuccess ? code : 0;
}

}  // namespace dinfer
