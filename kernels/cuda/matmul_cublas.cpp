#include "kernels/cuda/matmul_cublas.h"

#include <dlfcn.h>

#include <bit>
#include <map>
#include <string>
#include <tuple>

#include <cublasLt.h>

#include "base/error.h"

namespace dinfer::cuda {
namespace {

void require_cublas(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  if (status == CUBLAS_STATUS_ALLOC_FAILED)
    fail(ExitCode::does_not_fit,
         "cuBLASLt's {} found too little memory on the GPU: free some, use more GPUs or a smaller "
         "--kv-memory-fraction",
         call);
  fail(ExitCode::device,
       "cuBLASLt's {} failed with status {}; the library and the driver may not fit together: see "
       "`dinfer --version` and `nvidia-smi`",
       call, static_cast<int>(status));
}

// The library, found at run time.
class Library {
 public:
  Library()
      : name_("libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR)),
        handle_(dlopen(name_.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_) return;
    fail(ExitCode::device,
         "{} was not found: install cuBLAS {} of the CUDA toolkit, or name its folder in "
         "LD_LIBRARY_PATH",
         name_, CUBLAS_VER_MAJOR);
  }

  template <class Function>
  Function* find(const char* function) const {
    auto* found = reinterpret_cast<Function*>(dlsym(handle_, function));
    if (!found) fail(ExitCode::device, "{} lacks {}: install a newer one", name_, function);
    return found;
  }

 private:
  std::string name_;
  void* handle_;  // never closed: it holds GPU code
};

struct Functions {
  Library library;
  decltype(::cublasLtCreate)* create = library.find<decltype(::cublasLtCreate)>("cublasLtCreate");
  decltype(::cublasLtDestroy)* destroy =
      library.find<decltype(::cublasLtDestroy)>("cublasLtDestroy");
  decltype(::cublasLtMatmulDescCreate)* matmul_desc_create =
      library.find<decltype(::cublasLtMatmulDescCreate)>("cublasLtMatmulDescCreate");
  decltype(::cublasLtMatmulDescDestroy)* matmul_desc_destroy =
      library.find<decltype(::cublasLtMatmulDescDestroy)>("cublasLtMatmulDescDestroy");
  decltype(::cublasLtMatmulDescSetAttribute)* matmul_desc_set_attribute =
      library.find<decltype(::cublasLtMatmulDescSetAttribute)>("cublasLtMatmulDescSetAttribute");
  decltype(::cublasLtMatrixLayoutCreate)* matrix_layout_create =
      library.find<decltype(::cublasLtMatrixLayoutCreate)>("cublasLtMatrixLayoutCreate");
  decltype(::cublasLtMatrixLayoutDestroy)* matrix_layout_destroy =
      library.find<decltype(::cublasLtMatrixLayoutDestroy)>("cublasLtMatrixLayoutDestroy");
  decltype(::cublasLtMatmulPreferenceCreate)* matmul_preference_create =
      library.find<decltype(::cublasLtMatmulPreferenceCreate)>("cublasLtMatmulPreferenceCreate");
  decltype(::cublasLtMatmulPreferenceDestroy)* matmul_preference_destroy =
      library.find<decltype(::cublasLtMatmulPreferenceDestroy)>("cublasLtMatmulPreferenceDestroy");
  decltype(::cublasLtMatmulPreferenceSetAttribute)* matmul_preference_set_attribute =
      library.find<decltype(::cublasLtMatmulPreferenceSetAttribute)>(
          "cublasLtMatmulPreferenceSetAttribute");
  decltype(::cublasLtMatmulAlgoGetHeuristic)* matmul_algo_get_heuristic =
      library.find<decltype(::cublasLtMatmulAlgoGetHeuristic)>("cublasLtMatmulAlgoGetHeuristic");
  decltype(::cublasLtMatmul)* matmul = library.find<decltype(::cublasLtMatmul)>("cublasLtMatmul");
};

cudaDataType_t type_of(Packing packing) {
  return packing == Packing::f32 ? CUDA_R_32F : packing == Packing::f16 ? CUDA_R_16F : CUDA_R_16BF;
}

// What a choice of algorithm depends on.
struct Key {
  Packing type;
  int64_t count, rows, columns, stride;
  uint32_t alignment;  // of out
  bool bias, add;
  auto operator<=>(const Key&) const = default;
};

Key key_of(const DenseProduct& p) {
  const auto address = reinterpret_cast<uintptr_t>(p.out.data) | (uintptr_t{1} << 8) |
                       static_cast<uintptr_t>(p.out.stride * sizeof(float));
  return {p.type,
          p.count,
          p.rows,
          p.columns,
          p.out.stride,
          uint32_t{1} << std::countr_zero(address),
          p.out.bias != nullptr,
          p.out.add};
}

}  // namespace

struct CublasMatmul::State {
  // A shape and what was chosen for it.
  struct Choice {
    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t weight = nullptr, x = nullptr, out = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
  };

  explicit State(std::byte* memory) : workspace(memory) {
    require_cublas(functions.create(&handle), "Create");
  }

  ~State() {
    for (const auto& [key, choice] : choices) {
      functions.matrix_layout_destroy(choice.out);
      functions.matrix_layout_destroy(choice.x);
      functions.matrix_layout_destroy(choice.weight);
      functions.matmul_desc_destroy(choice.product);
    }
    functions.destroy(handle);
  }

  template <class Value>
  void set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, Value value) {
    require_cublas(functions.matmul_desc_set_attribute(product, attribute, &value, sizeof value),
                   "MatmulDescSetAttribute");
  }

  // cuBLAS counts in columns: out^T [rows x count] = (weight^T)^T * x^T.
  Choice describe(const Key& key) {
    Choice choice;
    require_cublas(functions.matmul_desc_create(&choice.product, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                   "MatmulDescCreate");
    set(choice.product, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (key.bias) set(choice.product, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    const auto layout = [&](cublasLtMatrixLayout_t* to, cudaDataType_t type, int64_t rows,
                            int64_t columns, int64_t stride) {
      require_cublas(functions.matrix_layout_create(to, type, rows, columns, stride),
                     "MatrixLayoutCreate");
    };
    layout(&choice.weight, type_of(key.type), key.columns, key.rows, key.columns);
    layout(&choice.x, type_of(key.type), key.columns, key.count, key.columns);
    layout(&choice.out, CUDA_R_32F, key.rows, key.count, key.stride);
    return choice;
  }

  void choose(const Key& key, Choice& choice) {
    cublasLtMatmulPreference_t preference = nullptr;
    require_cublas(functions.matmul_preference_create(&preference), "MatmulPreferenceCreate");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      require_cublas(
          functions.matmul_preference_set_attribute(preference, attribute, &value, sizeof value),
          "MatmulPreferenceSetAttribute");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.alignment);
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const cublasStatus_t status =
        functions.matmul_algo_get_heuristic(handle, choice.product, choice.weight, choice.x,
                                            choice.out, choice.out, preference, 1, &best, &found);
    functions.matmul_preference_destroy(preference);
    require_cublas(found > 0 ? status : CUBLAS_STATUS_NOT_SUPPORTED, "MatmulAlgoGetHeuristic");
    choice.algorithm = best.algo;
  }

  Functions functions;
  std::byte* workspace;
  cublasLtHandle_t handle = nullptr;
  std::map<Key, Choice> choices;
};

CublasMatmul::CublasMatmul(std::byte* workspace) : state_(std::make_unique<State>(workspace)) {}

CublasMatmul::~CublasMatmul() = default;

void CublasMatmul::multiply(const Stream& stream, const DenseProduct& p) {
  const Key key = key_of(p);
  auto at = state_->choices.find(key);
  const bool fresh = at == state_->choices.end();
  if (fresh) at = state_->choices.emplace(key, state_->describe(key)).first;
  State::Choice& choice = at->second;
  if (key.bias) state_->set(choice.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.out.bias);
  if (fresh) state_->choose(key, choice);
  const float one = 1.0f, old = key.add ? 1.0f : 0.0f;
  require_cublas(state_->functions.matmul(state_->handle, choice.product, &one, p.weight,
                                          choice.weight, p.x, choice.x, &old, p.out.data,
                                          choice.out, p.out.data, choice.out, &choice.algorithm,
                                          state_->workspace, kWorkspaceBytes, stream.handle),
                 "Matmul");
}

}  // namespace dinfer::cuda
