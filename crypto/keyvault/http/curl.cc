#include "crypto/keyvault/http/curl.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "base/thread/stop_request.h"
#include "crypto/files/private_file.h"
#include "crypto/files/trusted_file.h"
#include "crypto/keyvault/http/curl_library.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {
namespace {

constexpr std::size_t kPemLimitBytes = std::size_t{256} * 1024;
constexpr std::size_t kHeadersLimitBytes = std::size_t{64} * 1024;
constexpr std::string_view kWhitespace = " \t\r\n";

struct EasyFree {
  void operator()(CURL* easy) const noexcept { curl_easy_cleanup(easy); }
};
struct ListFree {
  void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, EasyFree>;
using HeaderList = std::unique_ptr<curl_slist, ListFree>;

struct TlsMaterial {
  Bytes authorities;
  std::vector<std::string> authorities_for;
  Bytes client_certificate;
  SecretBuffer client_key;
};

// An answer as it comes in, and why it was broken off.
struct Incoming {
  enum class Fault : std::uint8_t { none, body_too_large, headers_too_large, no_memory };
  HttpAnswer answer;
  std::size_t header_bytes = 0;
  Fault fault = Fault::none;
};

std::string_view trimmed(std::string_view text) noexcept {
  const std::size_t begin = text.find_first_not_of(kWhitespace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kWhitespace) - begin + 1);
}

void add_header(Incoming& incoming, std::string_view line) {
  // The headers of the last response count, as after "100 Continue".
  if (line.starts_with("HTTP/")) {
    incoming.answer.headers.clear();
    return;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  std::string name(trimmed(line.substr(0, colon)));
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 32) : c; });
  incoming.answer.headers.emplace_back(std::move(name), std::string(trimmed(line.substr(colon + 1))));
}

// Answering less than `size` breaks the transfer off.
extern "C" std::size_t take_header(char* data, std::size_t unit, std::size_t count, void* context) {
  auto& incoming = *static_cast<Incoming*>(context);
  const std::size_t size = unit * count;
  incoming.header_bytes += size;
  if (incoming.header_bytes > kHeadersLimitBytes) {
    incoming.fault = Incoming::Fault::headers_too_large;
    return 0;
  }
  try {
    add_header(incoming, {data, size});
  } catch (const std::bad_alloc&) {
    incoming.fault = Incoming::Fault::no_memory;
    return 0;
  }
  return size;
}

extern "C" std::size_t take_body(char* data, std::size_t unit, std::size_t count, void* context) {
  auto& incoming = *static_cast<Incoming*>(context);
  const std::size_t size = unit * count;
  if (size > kHttpAnswerLimitBytes - incoming.answer.body.size()) {
    incoming.fault = Incoming::Fault::body_too_large;
    return 0;
  }
  try {
    incoming.answer.body.append(data, size);
  } catch (const std::bad_alloc&) {
    incoming.fault = Incoming::Fault::no_memory;
    return 0;
  }
  return size;
}

// Asked about once a second, and whenever something moves. Anything but 0 breaks the transfer off.
extern "C" int look_for_stop(void* /*context*/, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return stop_requested() ? 1 : 0;
}

// libcurl's own sockets would be open in every program that this process starts.
extern "C" curl_socket_t open_socket(void* /*context*/, curlsocktype /*purpose*/, curl_sockaddr* address) {
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

bool append(HeaderList& list, const LockedText& line) {
  curl_slist* const longer = curl_slist_append(list.get(), line.c_str());
  if (longer == nullptr) return false;
  if (!list) list.reset(longer);
  return true;
}

class CurlSession final : public HttpSession {
 public:
  CurlSession(Easy easy, TlsMaterial tls) : easy_(std::move(easy)), tls_(std::move(tls)) {}

  Result<HttpAnswer> exchange(const HttpRequest& request, std::chrono::milliseconds timeout) override {
    try {
      return try_exchange(request, timeout);
    } catch (const std::bad_alloc&) {
      return no_memory_for_curl();
    }
  }

 private:
  Result<HttpAnswer> try_exchange(const HttpRequest& request, std::chrono::milliseconds timeout) {
    curl_easy_reset(easy_.get());  // keeps the connection
    HeaderList headers;
    for (const auto& [name, value] : request.headers) {
      LockedText line(name.begin(), name.end());
      if (!append(headers, line.append(": ").append(value))) return no_memory_for_curl();
    }
    // "Name:" alone keeps libcurl from sending a header of its own.
    LockedText type("Content-Type:");
    if (!request.content_type.empty()) type.append(" ").append(request.content_type);
    if (!append(headers, type) || !append(headers, "Expect:")) return no_memory_for_curl();

    Incoming incoming;
    std::array<char, CURL_ERROR_SIZE> reason{};
    const std::string url = request.url.to_string();
    const bool set = set_options(request, url, timeout) && set_tls(request.url) &&
                     option(CURLOPT_HTTPHEADER, headers.get()) && option(CURLOPT_ERRORBUFFER, reason.data()) &&
                     option(CURLOPT_HEADERFUNCTION, take_header) && option(CURLOPT_HEADERDATA, &incoming) &&
                     option(CURLOPT_WRITEFUNCTION, take_body) && option(CURLOPT_WRITEDATA, &incoming);
    if (!set) return no_memory_for_curl();
    const CURLcode code = curl_easy_perform(easy_.get());
    if (code != CURLE_OK) return failure(code, incoming, request, reason.data());
    long status = 0;
    curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
    incoming.answer.status = static_cast<int>(status);
    return std::move(incoming.answer);
  }

  template <typename Value>
  bool option(CURLoption name, Value value) {
    return curl_easy_setopt(easy_.get(), name, value) == CURLE_OK;
  }

  bool set_options(const HttpRequest& request, const std::string& url, std::chrono::milliseconds timeout) {
    const bool with_body = !request.body.empty() || request.method == "POST" || request.method == "PUT";
    bool set = option(CURLOPT_URL, url.c_str()) && option(CURLOPT_NOSIGNAL, 1L) && option(CURLOPT_QUICK_EXIT, 1L) &&
               option(CURLOPT_PROTOCOLS_STR, request.url.secure ? "https" : "http") &&
               option(CURLOPT_FOLLOWLOCATION, 0L) && option(CURLOPT_PATH_AS_IS, 1L) &&
               option(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1)) &&
               option(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) && option(CURLOPT_USERAGENT, "vaultfs") &&
               option(CURLOPT_TIMEOUT_MS, std::max<long>(1, timeout.count())) &&
               option(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count())) &&
               option(CURLOPT_MAXFILESIZE, static_cast<long>(kHttpAnswerLimitBytes)) &&
               option(CURLOPT_OPENSOCKETFUNCTION, open_socket) && option(CURLOPT_NOPROGRESS, 0L) &&
               option(CURLOPT_XFERINFOFUNCTION, look_for_stop);
    if (!request.use_proxy || request.url.is_loopback()) set = set && option(CURLOPT_PROXY, "");
    if (with_body) {
      set = set && option(CURLOPT_POSTFIELDSIZE, static_cast<long>(request.body.size())) &&
            option(CURLOPT_POSTFIELDS, request.body.c_str());
    }
    return set && option(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }

  bool set_tls(const HttpUrl& server) {
    bool set = option(CURLOPT_SSL_VERIFYPEER, 1L) && option(CURLOPT_SSL_VERIFYHOST, 2L) &&
               option(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2)) && option(CURLOPT_KEYPASSWD, "");
    const auto& theirs = tls_.authorities_for;
    const bool meant = theirs.empty() || std::ranges::find(theirs, server.origin()) != theirs.end();
    if (!tls_.authorities.empty() && meant) {
      set = set && blob(CURLOPT_CAINFO_BLOB, tls_.authorities) && option(CURLOPT_CAPATH, nullptr);
    }
    if (!tls_.client_certificate.empty()) {
      set = set && blob(CURLOPT_SSLCERT_BLOB, tls_.client_certificate) &&
            blob(CURLOPT_SSLKEY_BLOB, tls_.client_key.view());
    }
    return set;
  }

  bool blob(CURLoption name, ByteView bytes) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): not written to; the type is C's
    curl_blob view{const_cast<std::byte*>(bytes.data()), bytes.size(), CURL_BLOB_NOCOPY};
    return option(name, &view);
  }

  static Error failure(CURLcode code, const Incoming& incoming, const HttpRequest& request, const char* reason) {
    const std::string server = request.url.origin();
    const std::string why = printable(*reason != '\0' ? reason : curl_easy_strerror(code));
    if (incoming.fault == Incoming::Fault::no_memory || code == CURLE_OUT_OF_MEMORY) return no_memory_for_curl();
    if (incoming.fault != Incoming::Fault::none || code == CURLE_FILESIZE_EXCEEDED) {
      return {ErrorCode::KeyVaultUnavailable,
              server + " answered with more than a key vault's answers have; check the address"};
    }
    switch (code) {
      case CURLE_COULDNT_RESOLVE_HOST:
      case CURLE_COULDNT_RESOLVE_PROXY:
      case CURLE_COULDNT_CONNECT:
      case CURLE_OPERATION_TIMEDOUT:
      case CURLE_SSL_CONNECT_ERROR:
      case CURLE_SEND_ERROR:
      case CURLE_RECV_ERROR:
      case CURLE_GOT_NOTHING:
      case CURLE_PARTIAL_FILE:
        return {ErrorCode::TryAgain, server + " gives no answer: " + why};
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_ISSUER_ERROR:
        return {ErrorCode::KeyVaultUnavailable,
                server + " is not trusted: " + why + "; check the address, or name its authority in ca-file"};
      case CURLE_SSL_CACERT_BADFILE:
      case CURLE_SSL_CERTPROBLEM:
        return {ErrorCode::KeyVaultUnavailable, "a certificate or key file of the configuration is no good: " + why};
      default:
        return {ErrorCode::KeyVaultUnavailable, server + " can't be used: " + why};
    }
  }

  Easy easy_;
  TlsMaterial tls_;
};

class CurlTransport final : public HttpTransport {
 public:
  CurlTransport(Env& env, HttpTlsFiles files) : env_(env), files_(std::move(files)) {}

  Result<std::unique_ptr<HttpSession>> open_session() override {
    if (!curl_ready()) return Error{ErrorCode::Internal, "libcurl cannot start"};
    VAULTFS_ASSIGN_OR_RETURN(TlsMaterial tls, read_tls());
    Easy easy(curl_easy_init());
    if (!easy) return no_memory_for_curl();
    return std::unique_ptr<HttpSession>(std::make_unique<CurlSession>(std::move(easy), std::move(tls)));
  }

 private:
  Result<TlsMaterial> read_tls() {
    TlsMaterial tls;
    if (files_.authorities) {
      VAULTFS_ASSIGN_OR_RETURN(tls.authorities, read_authorities(*files_.authorities));
      tls.authorities_for = files_.authorities_for;
    }
    if (files_.client_certificate && files_.client_key) {
      VAULTFS_ASSIGN_OR_RETURN(tls.client_certificate, read_certificates(*files_.client_certificate));
      auto key = read_private_file(env_, *files_.client_key, kPemLimitBytes);
      if (!key.ok()) return as_outage(key.error());
      tls.client_key = *std::move(key);
    }
    return tls;
  }

  // Whom to believe that he is the key vault: from a file that only its owner can change.
  Result<Bytes> read_authorities(const Env::Path& path) {
    return check_certificates(
        path, read_trusted_file(env_, path, kPemLimitBytes, "say whom vaultfs takes for the key vault"));
  }

  Result<Bytes> read_certificates(const Env::Path& path) {
    return check_certificates(path, read_file(env_, path, kPemLimitBytes));
  }

  static Result<Bytes> check_certificates(const Env::Path& path, Result<Bytes> bytes) {
    if (!bytes.ok()) return as_outage(bytes.error());
    if (text_of(*bytes).find("-----BEGIN ") == std::string_view::npos) {
      return Error{ErrorCode::KeyVaultUnavailable, path.string() + " holds no certificate in PEM"};
    }
    return bytes;
  }

  static Error as_outage(Error error) {
    if (error.code != ErrorCode::PermissionDenied) error.code = ErrorCode::KeyVaultUnavailable;
    return error;
  }

  Env& env_;
  const HttpTlsFiles files_;
};

}  // namespace

std::shared_ptr<HttpTransport> make_curl_transport(Env& env, HttpTlsFiles files) {
  return std::make_shared<CurlTransport>(env, std::move(files));
}

}  // namespace vaultfs
