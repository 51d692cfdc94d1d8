#include "crypto/keyvault/http/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "base/ascii.h"
#include "crypto/keyvault/http/curl_library.h"

namespace vaultfs {
namespace {

constexpr std::size_t kUrlLimit = 2048;
constexpr std::size_t kHostLimit = 253;
constexpr std::size_t kPrintableLimit = 200;
constexpr std::uint16_t kHttpsPort = 443;
constexpr std::uint16_t kHttpPort = 80;
constexpr std::string_view kMetadataHost = "169.254.169.254";

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_hex(char c) noexcept { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// The four bytes of a dotted IPv4 address. Leading zeros, which some resolvers take for octal, it has none.
std::optional<std::array<unsigned char, 4>> ipv4(const std::string& host) noexcept {
  std::array<unsigned char, 4> bytes{};
  if (::inet_pton(AF_INET, host.c_str(), bytes.data()) != 1) return std::nullopt;
  return bytes;
}

// A name of labels, or an IPv4 address. What only looks like an address (a last label of digits) is neither: resolvers
// disagree about it (WHATWG URL, "ends in a number").
bool is_host_name(const std::string& host) noexcept {
  if (host.empty() || host.size() > kHostLimit) return false;
  if (ipv4(host)) return true;
  std::size_t label = 0;
  std::size_t last = 0;
  for (std::size_t i = 0; i < host.size(); ++i) {
    const char c = host[i];
    if (c == '.') {
      if (label == 0 || host[i - 1] == '-') return false;
      label = 0;
      last = i + 1;
      continue;
    }
    if (!is_letter(c) && !is_digit(c) && (c != '-' || label == 0)) return false;
    if (++label > 63) return false;
  }
  return label != 0 && host.back() != '-' && !is_digit(host[last]);
}

// Characters that may stand in a path (and, with '?', in a query), and a '%' with two digits.
bool is_path(std::string_view text, bool query) noexcept {
  constexpr std::string_view kOther = "-._~!$&'()*+,;=:@/";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size() || !is_hex(text[i + 1]) || !is_hex(text[i + 2])) return false;
      i += 2;
    } else if (!is_letter(c) && !is_digit(c) && kOther.find(c) == std::string_view::npos && !(query && c == '?')) {
      return false;
    }
  }
  return true;
}

// curl and servers remove such segments, so the URL that is asked would not be the one that was checked.
bool has_dot_segment(std::string_view path) noexcept {
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    if (segment == "." || segment == "..") return true;
    begin = end + 1;
  }
  return false;
}

struct UrlFree {
  void operator()(CURLU* url) const noexcept { curl_url_cleanup(url); }
};
struct CurlTextFree {
  void operator()(char* text) const noexcept { curl_free(text); }
};
using CurlText = std::unique_ptr<char, CurlTextFree>;

// What libcurl makes of a URL. Parts that the URL does not have are empty; the path then is "/".
struct UrlParts {
  std::string scheme, host, zone, port, path, query;
};

// Nothing: it is no URL, or has a user.
Result<std::optional<UrlParts>> split(const std::string& text) {
  if (!curl_ready()) return Error{ErrorCode::Internal, "libcurl cannot start"};
  const std::unique_ptr<CURLU, UrlFree> url(curl_url());
  if (!url) return no_memory_for_curl();
  CURLUcode code = curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_DISALLOW_USER | CURLU_PATH_AS_IS);
  if (code == CURLUE_OUT_OF_MEMORY) return no_memory_for_curl();
  if (code != CURLUE_OK) return std::optional<UrlParts>();
  UrlParts parts;
  for (const auto& [part, into] : {std::pair{CURLUPART_SCHEME, &parts.scheme},
                                   {CURLUPART_HOST, &parts.host},
                                   {CURLUPART_ZONEID, &parts.zone},
                                   {CURLUPART_PORT, &parts.port},
                                   {CURLUPART_PATH, &parts.path},
                                   {CURLUPART_QUERY, &parts.query}}) {
    char* value = nullptr;
    code = curl_url_get(url.get(), part, &value, 0);
    const CurlText owned(value);
    if (code == CURLUE_OUT_OF_MEMORY) return no_memory_for_curl();
    if (code == CURLUE_OK) *into = owned.get();
  }
  return std::optional<UrlParts>(std::move(parts));
}

// libcurl forgives much: one slash or three, any notation of an IPv4 address, escapes in a name, a ':' without a port.
// So the server that it found has to be the one that the text says.
bool is_said(std::string_view text, const UrlParts& parts) {
  const bool ipv6 = parts.host.starts_with('[');  // libcurl's shortest form; it takes no other notation than RFC 4291's
  const std::string start = ascii_lower(parts.scheme + "://" + (ipv6 ? "[" : parts.host));
  if (!ascii_lower(text).starts_with(start)) return false;
  text.remove_prefix(ipv6 ? text.find(']') + 1 : start.size());
  if (text.starts_with(':')) return !parts.port.empty();
  return text.empty() || text.front() == '/' || text.front() == '?';
}

// Sets the host and the port; false if they can't be used.
bool set_server(const UrlParts& parts, HttpUrl& url) {
  url.host = ascii_lower(parts.host);
  if (url.host.starts_with('[')) {
    url.host = url.host.substr(1, url.host.size() - 2);
  } else if (!is_host_name(url.host)) {
    return false;
  }
  unsigned number = url.secure ? kHttpsPort : kHttpPort;
  static_cast<void>(std::from_chars(parts.port.data(), parts.port.data() + parts.port.size(), number));
  url.port = static_cast<std::uint16_t>(number);
  return number > 0 && number <= 65535 && parts.zone.empty();
}

// Why plain http may not go there; nothing if it may.
std::optional<std::string> forbidden(const HttpUrl& url, PlainHttp plain) {
  if (url.secure || (plain != PlainHttp::never && url.is_loopback())) return std::nullopt;
  if (plain == PlainHttp::link_local && url.host == kMetadataHost) return std::nullopt;
  if (url.is_loopback()) return "plain http is refused; use https, or for loopback the option allow-http=loopback";
  return "plain http is refused; use https";
}

}  // namespace

Result<HttpUrl> HttpUrl::parse(std::string_view text, const std::string& what, PlainHttp plain, bool with_query) {
  const auto invalid = [&](const std::string& why) { return Error{ErrorCode::InvalidArgument, what + ": " + why}; };
  if (text.size() > kUrlLimit) return invalid("the URL is too long");
  const std::string scheme = ascii_lower(text.substr(0, std::min(text.find("://"), text.size())));
  if (scheme != "https" && scheme != "http") {
    return invalid("\"" + printable(text) + "\" is no https URL; write https://HOST[:PORT]");
  }
  // libcurl ends a text at a zero, and would encode what is not ASCII as a name of another alphabet.
  const bool plain_text = std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f && c != '#'; });
  std::optional<UrlParts> parts;
  if (plain_text) {
    VAULTFS_ASSIGN_OR_RETURN(parts, split(std::string(text)));
  }
  HttpUrl url;
  url.secure = scheme == "https";
  if (!parts || !is_said(text, *parts) || !set_server(*parts, url)) {
    return invalid("\"" + printable(text) + "\" names no host (and port) that can be used");
  }
  url.query = parts->query;
  if (text.find('?') != std::string_view::npos && (!with_query || !is_path(url.query, true))) {
    return invalid("the URL has a query that can't be used");
  }
  url.path = parts->path;
  if (!is_path(url.path, false) || has_dot_segment(url.path)) return invalid("the path of the URL can't be used");
  while (url.path.ends_with('/')) url.path.pop_back();
  if (const auto why = forbidden(url, plain)) return invalid(*why);
  return url;
}

std::string HttpUrl::origin() const {
  std::string text = secure ? "https://" : "http://";
  text += host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (secure ? kHttpsPort : kHttpPort)) text += ":" + std::to_string(port);
  return text;
}

std::string HttpUrl::to_string() const { return origin() + path + (query.empty() ? "" : "?" + query); }

bool HttpUrl::is_loopback() const noexcept {
  // RFC 6761 section 6.3: names under localhost never leave the machine; libcurl does not even ask a resolver.
  if (host == "localhost" || host.ends_with(".localhost") || host == "::1") return true;
  const auto numbers = ipv4(host);
  return numbers && (*numbers)[0] == 127;
}

HttpUrl HttpUrl::at(std::string_view segment) const {
  HttpUrl url = *this;
  url.path.append("/").append(percent_encoded(segment));
  return url;
}

HttpUrl HttpUrl::with(std::string_view name, std::string_view value) const {
  HttpUrl url = *this;
  if (!url.query.empty()) url.query += "&";
  url.query.append(percent_encoded(name)).append("=").append(percent_encoded(value));
  return url;
}

LockedText percent_encoded(std::string_view text) {
  if (text.empty()) return {};  // for libcurl that is a length to be found out
  const CurlText encoded(curl_ready() ? curl_easy_escape(nullptr, text.data(), static_cast<int>(text.size()))
                                      : nullptr);
  if (!encoded) throw std::bad_alloc();
  return encoded.get();
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kPrintableLimit)) out += c >= 0x20 && c < 0x7f && c != '"' ? c : '?';
  if (text.size() > kPrintableLimit) out += "...";
  return out;
}

}  // namespace vaultfs
