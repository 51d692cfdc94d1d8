#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "crypto/memory/locked_text.h"

namespace vaultfs {

// Where plain http may go. Certificates are always checked on https, whatever this says.
enum class PlainHttp : std::uint8_t {
  never,
  loopback,    // 127.0.0.0/8, ::1, localhost and the names under it
  link_local,  // 169.254.169.254 and loopback: for the metadata service of a machine, which has no https
};

// An absolute http or https URL without user, password, fragment or query (RFC 3986): an address in the configuration,
// or one that a key vault names.
struct HttpUrl {
  bool secure = true;
  std::string host;  // lower case; an IPv6 address in its shortest form, without brackets
  std::uint16_t port = 443;
  std::string path;   // empty or begins with '/', never ends with one
  std::string query;  // without '?'

  // InvalidArgument, with `what` in front of the message, for anything else, and for plain http where `plain` forbids
  // it; MemoryLockFailed. Only printable ASCII; at most 2048 characters. A query is refused unless `with_query`.
  // libcurl splits the text; what it would only guess or put right is refused.
  [[nodiscard]] static Result<HttpUrl> parse(std::string_view text, const std::string& what, PlainHttp plain,
                                             bool with_query = false);

  // What requests are sent to: scheme, host, port if it is not the scheme's own, path and query.
  [[nodiscard]] std::string to_string() const;
  // Scheme, host and port alone.
  [[nodiscard]] std::string origin() const;
  [[nodiscard]] bool same_origin(const HttpUrl& other) const noexcept {
    return secure == other.secure && host == other.host && port == other.port;
  }
  [[nodiscard]] bool is_loopback() const noexcept;

  // The URL with `/segment` behind its path; the segment is percent-encoded.
  [[nodiscard]] HttpUrl at(std::string_view segment) const;
  // The URL with `name=value` at the end of its query, percent-encoded.
  [[nodiscard]] HttpUrl with(std::string_view name, std::string_view value) const;
};

// RFC 3986 percent-encoding of all but unreserved characters. The text may be a secret.
[[nodiscard]] LockedText percent_encoded(std::string_view text);

// Foreign text as it may stand in a message: one line, at most 200 characters, no control characters for a terminal to
// obey.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace vaultfs
