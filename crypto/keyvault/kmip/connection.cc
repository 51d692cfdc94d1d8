#include "crypto/keyvault/kmip/connection.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "crypto/keyvault/kmip/credentials.h"
#include "crypto/keyvault/kmip/socket.h"
#include "crypto/keyvault/kmip/ttlv.h"
#include "crypto/openssl_handle.h"

namespace vaultfs {
namespace {

using Ssl = OpensslHandle<SSL, SSL_free>;

// --- a BIO over a socket that never raises SIGPIPE, as OpenSSL's own does ---

int descriptor_of(BIO* bio) { return *static_cast<int*>(BIO_get_data(bio)); }

int bio_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t sent = ::send(descriptor_of(bio), data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int bio_read(BIO* bio, char* out, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t got = ::recv(descriptor_of(bio), out, static_cast<std::size_t>(size), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  if (got == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(got);
}

long bio_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

int bio_create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

// Null if there was no memory for it. Lives as long as the process.
const BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "vaultfs socket");
    if (made == nullptr) return made;
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_ctrl(made, bio_control);
    BIO_meth_set_create(made, bio_create);
    return made;
  }();
  return method;
}

bool is_ip_address(const std::string& text) {
  std::array<std::byte, sizeof(in6_addr)> address{};
  return ::inet_pton(AF_INET, text.c_str(), address.data()) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), address.data()) == 1;
}

// True if the reason is an alert by which a server refuses the client's certificate (RFC 8446 section 6.2).
bool is_certificate_alert(int reason) {
  switch (reason) {
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return true;
    default:
      return false;
  }
}

}  // namespace

class KmipConnection::Tls {
 public:
  Tls(const KmipSettings& settings, KmipSocket socket) : settings_(settings), socket_(std::move(socket)) {}

  Status handshake(SSL_CTX* context, const KmipDeadline& deadline);
  Status write(ByteView bytes, const KmipDeadline& deadline);
  // Fills `out`.
  Status read(MutableByteView out, const KmipDeadline& deadline);
  bool is_usable();

 private:
  Status expect_server_name();
  // What to do after a call that gave `result`: success to make it again, else why it failed.
  Status after(int result, const KmipDeadline& deadline);
  Error tls_failure();
  Error refused(int reason);

  const KmipSettings& settings_;
  KmipSocket socket_;
  int descriptor_ = socket_.get();  // at a fixed address, for the BIO
  const pid_t process_ = ::getpid();
  bool proven_ = false;  // the server has shown who it is, and what it says now is authenticated
  Ssl ssl_;              // its BIO uses `descriptor_`
};

Status KmipConnection::Tls::expect_server_name() {
  const std::string& name = settings_.server_name;
  SSL_set_hostflags(ssl_.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  bool set = false;
  if (is_ip_address(name)) {
    set = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), name.c_str()) == 1;
  } else {
    // SSL_set_tlsext_host_name, written out: the macro casts in the old style. The name is copied, not changed.
    set = SSL_set1_host(ssl_.get(), name.c_str()) == 1 &&
          SSL_ctrl(ssl_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                   const_cast<char*>(name.c_str())) == 1;  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  }
  if (set) return ok_status();
  return openssl_error(ErrorCode::KeyVaultUnavailable, "the server name " + name + " can't be checked");
}

Status KmipConnection::Tls::handshake(SSL_CTX* context, const KmipDeadline& deadline) {
  ssl_.reset(SSL_new(context));
  BIO* const bio = ssl_ && socket_method() != nullptr ? BIO_new(socket_method()) : nullptr;
  if (bio == nullptr) return openssl_error(ErrorCode::MemoryLockFailed, "no memory for TLS");
  BIO_set_data(bio, &descriptor_);
  SSL_set_bio(ssl_.get(), bio, bio);
  VAULTFS_RETURN_IF_ERROR(expect_server_name());
  while (true) {
    ERR_clear_error();
    const int result = SSL_connect(ssl_.get());
    if (result == 1) {
      proven_ = true;
      return ok_status();
    }
    VAULTFS_RETURN_IF_ERROR(after(result, deadline));
  }
}

Status KmipConnection::Tls::write(ByteView bytes, const KmipDeadline& deadline) {
  while (true) {
    ERR_clear_error();
    std::size_t written = 0;  // all, or nothing yet: partial writes are not enabled
    const int result = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &written);
    if (result == 1) return ok_status();
    VAULTFS_RETURN_IF_ERROR(after(result, deadline));
  }
}

Status KmipConnection::Tls::read(MutableByteView out, const KmipDeadline& deadline) {
  while (!out.empty()) {
    ERR_clear_error();
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_.get(), out.data(), out.size(), &got);
    if (result == 1) {
      out = out.subspan(got);
    } else {
      VAULTFS_RETURN_IF_ERROR(after(result, deadline));
    }
    // A server that gives one byte at a time keeps the socket readable, so no wait would notice the end of the time.
    if (deadline.remaining().count() == 0 && !out.empty()) return socket_.wait(POLLIN, deadline);
  }
  return ok_status();
}

bool KmipConnection::Tls::is_usable() {
  if (process_ != ::getpid()) return false;
  ERR_clear_error();
  std::byte next{};
  std::size_t got = 0;
  // Session tickets, which a TLS 1.3 server sends unasked, are taken in by this.
  const int result = SSL_peek_ex(ssl_.get(), &next, 1, &got);
  const bool quiet = result != 1 && SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ;
  ERR_clear_error();
  return quiet;
}

Status KmipConnection::Tls::after(int result, const KmipDeadline& deadline) {
  const int system_error = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return socket_.wait(POLLIN, deadline);
    case SSL_ERROR_WANT_WRITE:
      return socket_.wait(POLLOUT, deadline);
    case SSL_ERROR_ZERO_RETURN:
      return Error{ErrorCode::TryAgain, "the KMIP server closed the connection"};
    case SSL_ERROR_SYSCALL:
      return Error{ErrorCode::TryAgain, "the connection to the KMIP server broke: " +
                                            std::error_code(system_error, std::generic_category()).message()};
    default:
      return tls_failure();
  }
}

Error KmipConnection::Tls::tls_failure() {
  const unsigned long code = ERR_peek_last_error();
  const int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    ERR_clear_error();
    return {ErrorCode::TryAgain, "the KMIP server cut the connection off"};
  }
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    ERR_clear_error();
    return {ErrorCode::KeyVaultUnavailable, "the certificate of the KMIP server at " + settings_.location() +
                                                " is not trusted for " + settings_.server_name + " (" +
                                                X509_verify_cert_error_string(SSL_get_verify_result(ssl_.get())) +
                                                "); check ca-file and server-name, and who answers there"};
  }
  if (is_certificate_alert(reason)) return refused(reason);
  return openssl_error(ErrorCode::KeyVaultUnavailable, "TLS with the KMIP server failed");
}

// A server that does not take our certificate. As a rule that is an outage: the certificate ran out or a CA was
// replaced, nobody has decided to take the key away, and running data should not pay for it after the short grace of a
// revocation. Nor may it be one while the handshake goes on: until then an alert is not authenticated, and whoever is
// on the wire could have a vault drop its keys. It is a denial where the server has proven who it is and says in so
// many words that somebody took the access away.
Error KmipConnection::Tls::refused(int reason) {
  const bool decided = reason == SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED || reason == SSL_R_TLSV1_ALERT_ACCESS_DENIED;
  return openssl_error(proven_ && decided ? ErrorCode::KeyVaultDenied : ErrorCode::KeyVaultUnavailable,
                       "the KMIP server does not take the client certificate " + settings_.client_cert_file.string() +
                           "; see when it ends and whether the server knows its CA");
}

// --- messages ---

KmipConnection::KmipConnection(std::unique_ptr<Tls> tls) : tls_(std::move(tls)) {}
// Without a close notification: a child of fork() must not end its parent's session, and a KMIP message carries its
// length, so that none can be cut short unnoticed.
KmipConnection::~KmipConnection() = default;

Result<std::unique_ptr<KmipConnection>> KmipConnection::open(Env& env, const KmipSettings& settings,
                                                             const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(const SslContext context, make_kmip_ssl_context(env, settings));
  VAULTFS_ASSIGN_OR_RETURN(KmipSocket socket, KmipSocket::connect(settings.host, settings.port, deadline));
  auto tls = std::make_unique<Tls>(settings, std::move(socket));
  VAULTFS_RETURN_IF_ERROR(tls->handshake(context.get(), deadline));
  return std::unique_ptr<KmipConnection>(new KmipConnection(std::move(tls)));
}

bool KmipConnection::is_usable() { return tls_->is_usable(); }

Result<SecretBuffer> KmipConnection::exchange(ByteView request, std::size_t limit, const KmipDeadline& deadline) {
  VAULTFS_RETURN_IF_ERROR(tls_->write(request, deadline));
  std::array<std::byte, kTtlvHeaderBytes> header{};
  VAULTFS_RETURN_IF_ERROR(tls_->read(header, deadline));
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t size, kmip_message_size(header, limit));
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer answer, SecretBuffer::allocate(size));
  std::ranges::copy(header, answer.mutable_view().begin());
  VAULTFS_RETURN_IF_ERROR(tls_->read(answer.mutable_view().subspan(header.size()), deadline));
  return answer;
}

}  // namespace vaultfs
