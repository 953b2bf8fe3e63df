#include "cli/score_logits_file.h"

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace dinfer {

namespace {

// An HDF5 identifier, closed on destruction.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { close_(id_); }
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

}  // namespace

LogitsFile::LogitsFile(const std::string& path, int64_t vocab)
    : path_(path), vocab_(static_cast<hsize_t>(vocab)) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // errors are reported by checked()
  errno = 0;
  file_ = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  if (file_ < 0)
    fail(ExitCode::config, "--logits {}: HDF5 cannot create the file: {}", path_,
         errno ? std::strerror(errno) : "it gives no reason");
}

LogitsFile::~LogitsFile() { H5Fclose(file_); }

hid_t LogitsFile::checked(hid_t id, const char* what) const {
  if (id < 0) fail(ExitCode::config, "--logits {}: HDF5 cannot {}", path_, what);
  return id;
}

void LogitsFile::add_item(int64_t item, std::span<const int32_t> tokens) {
  const std::string name = fmt::to_string(item);
  const Handle group(checked(H5Gcreate2(file_, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                             "create a group"),
                     H5Gclose);
  const std::array<hsize_t, 2> shape{tokens.size(), vocab_};
  const Handle line(checked(H5Screate_simple(1, shape.data(), nullptr), "describe tokens"),
                    H5Sclose);
  const Handle plane(checked(H5Screate_simple(2, shape.data(), nullptr), "describe logits"),
                     H5Sclose);
  const Handle ids(checked(H5Dcreate2(group, "tokens", H5T_STD_I32LE, line, H5P_DEFAULT,
                                      H5P_DEFAULT, H5P_DEFAULT),
                           "create a dataset"),
                   H5Dclose);
  checked(H5Dwrite(ids, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, tokens.data()),
          "write tokens");
  const Handle logits(checked(H5Dcreate2(group, "logits", H5T_IEEE_F32LE, plane, H5P_DEFAULT,
                                         H5P_DEFAULT, H5P_DEFAULT),
                              "create a dataset"),
                      H5Dclose);
}

void LogitsFile::write_row(int64_t item, int64_t position, std::span<const float> logits) {
  const std::string name = fmt::format("{}/logits", item);
  const Handle data(checked(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), "open a dataset"),
                    H5Dclose);
  const Handle to(checked(H5Dget_space(data), "read a shape"), H5Sclose);
  const std::array<hsize_t, 2> start{static_cast<hsize_t>(position), 0}, count{1, vocab_};
  checked(H5Sselect_hyperslab(to, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
          "select a row");
  const Handle from(checked(H5Screate_simple(2, count.data(), nullptr), "describe a row"),
                    H5Sclose);
  checked(H5Dwrite(data, H5T_NATIVE_FLOAT, from, to, H5P_DEFAULT, logits.data()), "write logits");
}

}  // namespace dinfer
