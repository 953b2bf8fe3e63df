#pragma once

#include <hdf5.h>

#include <cstdint>
#include <span>
#include <string>

namespace dinfer {

// An HDF5 file with, for item i: /i/tokens int32 [tokens], and /i/logits f32 [tokens, vocab], whose
// row t is what the model gives after tokens [0, t]. Errors are Error(config) naming the file.
class LogitsFile {
 public:
  LogitsFile(const std::string& path, int64_t vocab);
  LogitsFile(const LogitsFile&) = delete;
  LogitsFile& operator=(const LogitsFile&) = delete;
  ~LogitsFile();

  void add_item(int64_t item, std::span<const int32_t> tokens);
  void write_row(int64_t item, int64_t position, std::span<const float> logits);

 private:
  hid_t checked(hid_t id, const char* what) const;

  std::string path_;
  hsize_t vocab_;
  hid_t file_;
};

}  // namespace dinfer
