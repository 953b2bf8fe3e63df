#include "server/http_tls.h"

#include "base/error.h"

namespace dinfer {

namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

void refuse_on(const error_code& error, const char* option, const std::filesystem::path& file,
               const char* fix) {
  if (error) fail(ExitCode::usage, "{} {}: {}: {}", option, file.string(), error.message(), fix);
}

}  // namespace

std::shared_ptr<ssl::context> tls_context(const TlsFiles& files) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 |
                       ssl::context::no_compression);
  error_code error;
  context->use_certificate_chain_file(files.certificate.string(), error);
  refuse_on(error, "--tls-cert", files.certificate, "give a certificate in PEM form");
  // Without this a key with a password would be asked for on the terminal.
  context->set_password_callback([](size_t, ssl::context::password_purpose) { return ""; }, error);
  context->use_private_key_file(files.key.string(), ssl::context::pem, error);
  refuse_on(error, "--tls-key", files.key,
            "give the certificate's key in PEM form, without password");
  return context;
}

}  // namespace dinfer
