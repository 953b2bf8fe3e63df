#include "server/openapi.h"

#include "base/build_info.h"

namespace dinfer {

OrderedJson describe_api(int64_t vocab, bool keys) {
  OrderedJson api = OrderedJson::parse(openapi_source());
  api["info"]["version"] = build_info().version;
  api["components"]["schemas"]["TokenId"]["maximum"] = vocab - 1;
  if (!keys) {
    api.erase("security");
    api["components"].erase("securitySchemes");
  }
  return api;
}

}  // namespace dinfer
