#include "cli/serve_endpoint.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace dinfer {

namespace {

OrderedJson job_of_launcher() {
  for (const char* variable : {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"}) {
    if (const char* job = std::getenv(variable)) return job;
  }
  return nullptr;
}

}  // namespace

void check_endpoint_file(const std::filesystem::path& path) {
  if (path.empty()) return;
  if (const std::string obstacle = write_obstacle(path); !obstacle.empty())
    fail(ExitCode::usage, "--endpoint-file {}: cannot be written: {}", path.string(), obstacle);
}

EndpointFile::EndpointFile(std::filesystem::path path, const HttpServer& http,
                           const std::string& url)
    : path_(std::move(path)) {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  const OrderedJson endpoint{{"url", url},
                             {"host", host},
                             {"port", http.port()},
                             {"job", job_of_launcher()},
                             {"pid", getpid()}};
  const std::string draft = fmt::format("{}.{}", path_.string(), getpid());
  std::ofstream file(draft);
  file << endpoint.dump() << '\n';
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(draft, path_, error);
  if (!file || error) {
    fail(ExitCode::usage, "--endpoint-file {}: cannot be written", path_.string());
  }
}

EndpointFile::~EndpointFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace dinfer
