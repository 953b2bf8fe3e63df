#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/model_files.h"
#include "checkpoint/printable.h"

namespace dinfer {

namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// ORG/NAME, of the characters that the hub allows; never a path that leads elsewhere.
bool is_hub_name(std::string_view name) {
  const size_t slash = name.find('/');
  if (slash == std::string_view::npos) return false;
  const auto valid = [](std::string_view part) {
    return !part.empty() && part.front() != '.' && part.find("..") == std::string_view::npos &&
           std::ranges::all_of(part, [](unsigned char c) {
             return std::isalnum(c) || c == '-' || c == '_' || c == '.';
           });
  };
  return valid(name.substr(0, slash)) && valid(name.substr(slash + 1));
}

// A branch, tag or commit: path components of which none is "." or "..".
bool is_revision(const fs::path& revision) {
  return !revision.empty() && revision.is_relative() &&
         std::ranges::none_of(revision, [](const fs::path& part) {
           return part == ".." || part == "." || part.empty();
         });
}

std::vector<fs::path> hub_caches() {
  std::vector<fs::path> caches;
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return value && *value ? fs::path(value) : fs::path();
  };
  if (const fs::path cache = variable("HF_HUB_CACHE"); !cache.empty()) caches.push_back(cache);
  if (const fs::path home = variable("HF_HOME"); !home.empty()) caches.push_back(home / "hub");
  if (const fs::path home = variable("HOME"); !home.empty()) {
    caches.push_back(home / ".cache" / "huggingface" / "hub");
  }
  return caches;
}

// A directory in the layout of Hugging Face.
ModelFiles from_directory(const fs::path& directory) {
  if (is_present(directory / "config.json") || is_present(directory / "tokenizer.json")) {
    return {directory, false};
  }
  std::error_code error;
  std::vector<std::string> ggufs;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".gguf") ggufs.push_back(entry.path().filename().string());
  }
  std::ranges::sort(ggufs);
  if (!ggufs.empty()) {
    fail(ExitCode::model_files, "{}: holds GGUF files: give one of them: {}", directory.string(),
         fmt::join(ggufs, ", "));
  }
  fail(ExitCode::model_files, "{}: has no config.json: it is no model directory",
       directory.string());
}

ModelFiles from_file(const fs::path& path) {
  const File file(path);
  char magic[4] = {};
  if (file.size() >= sizeof(magic)) file.read(0, std::as_writable_bytes(std::span(magic)));
  if (std::memcmp(magic, "GGUF", sizeof(magic)) == 0) return {path, true};
  if (path.extension() == ".gguf") {
    fail(ExitCode::model_files, "{}: not a GGUF file: it does not begin with GGUF", path.string());
  }
  fail(ExitCode::model_files,
       "{}: is neither a GGUF file nor a directory: for safetensors, give the directory with "
       "config.json",
       path.string());
}

// The snapshot of one model in one cache; empty: not there.
fs::path find_snapshot(const fs::path& cache, const std::string& model, const fs::path& revision) {
  std::string folder = "models--" + model;
  folder.replace(folder.find('/'), 1, "--");
  const fs::path root = cache / folder;
  fs::path commit = revision;
  if (const fs::path reference = root / "refs" / revision; is_present(reference)) {
    std::string text = read_text_file(reference, 1024);
    text.erase(text.find_last_not_of(" \n\r\t") + 1);
    commit = text;
  }
  if (!is_revision(commit) || commit.has_parent_path()) return {};
  const fs::path snapshot = root / "snapshots" / commit;
  return is_folder(snapshot) ? snapshot : fs::path();
}

}  // namespace

ModelFiles locate_model(const std::string& model, const std::string& revision) {
  if (is_folder(model)) return from_directory(model);
  if (is_present(model)) return from_file(model);
  if (!is_hub_name(model)) {
    fail(ExitCode::model_files,
         "{}: no such file or directory, and not a hub name of the form ORG/NAME", model);
  }
  const fs::path wanted = revision.empty() ? "main" : revision;
  if (!is_revision(wanted)) {
    fail(ExitCode::model_files, "--revision {}: must be a branch or a commit", printable(revision));
  }
  std::vector<std::string> looked{model};
  for (const fs::path& cache : hub_caches()) {
    const fs::path snapshot = find_snapshot(cache, model, wanted);
    if (!snapshot.empty()) return from_directory(snapshot);
    looked.push_back(cache.string());
  }
  fail(
      ExitCode::model_files,
      "{} (revision {}): not found; looked in {}. There is no --download in this version: copy the "
      "model there, or give its directory or .gguf file",
      model, wanted.string(), fmt::join(looked, ", "));
}

}  // namespace dinfer
