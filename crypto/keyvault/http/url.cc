#include "crypto/keyvault/http/url.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/ascii.h"

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
// The four numbers of a dotted IPv4 address without leading zeros, which some resolvers take for octal.
std::optional<std::array<unsigned, 4>> ipv4(std::string_view host) noexcept {
  std::array<unsigned, 4> numbers{};
  const char* at = host.data();
  const char* const end = host.data() + host.size();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) {
      if (at == end || *at != '.') return std::nullopt;
      ++at;
    }
    const auto [rest, error] = std::from_chars(at, end, numbers[i]);
    if (error != std::errc() || numbers[i] > 255 || (*at == '0' && rest != at + 1)) return std::nullopt;
    at = rest;
  }
  if (at != end) return std::nullopt;
  return numbers;
}

// A name of labels, or an IPv4 address. What only looks like an address (a last label of digits) is neither: resolvers
// disagree about it (WHATWG URL, "ends in a number").
bool is_host_name(std::string_view host) noexcept {
  if (host.empty() || host.size() > kHostLimit) return false;
  if (ipv4(host)) return true;
  std::size_t label = 0;
  std::string_view last = host;
  for (std::size_t i = 0; i < host.size(); ++i) {
    const char c = host[i];
    if (c == '.') {
      if (label == 0 || host[i - 1] == '-') return false;
      label = 0;
      last = host.substr(i + 1);
      continue;
    }
    if (!is_letter(c) && !is_digit(c) && (c != '-' || label == 0)) return false;
    if (++label > 63) return false;
  }
  return label != 0 && host.back() != '-' && !is_digit(last.front());
}

bool is_ipv6(std::string_view host) noexcept {
  return host.size() >= 2 && host.size() <= 45 && host.find(':') != std::string_view::npos &&
         std::ranges::all_of(host, [](char c) { return is_hex(c) || c == ':' || c == '.'; });
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

// Splits "HOST[:PORT]" or "[V6][:PORT]"; false if it is neither.
bool parse_authority(std::string_view text, HttpUrl& url) {
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return false;
    url.host = ascii_lower(text.substr(1, close - 1));
    if (!is_ipv6(url.host)) return false;
    port = text.substr(close + 1);
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    url.host = ascii_lower(text.substr(0, colon));
    if (!is_host_name(url.host)) return false;
    port = text.substr(colon);
  }
  url.port = url.secure ? kHttpsPort : kHttpPort;
  if (port.empty()) return true;
  unsigned number = 0;
  const auto [end, error] = std::from_chars(port.data() + 1, port.data() + port.size(), number);
  if (port.front() != ':' || error != std::errc() || end != port.data() + port.size()) return false;
  if (number == 0 || number > 65535) return false;
  url.port = static_cast<std::uint16_t>(number);
  return true;
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
  HttpUrl url;
  const std::size_t scheme_end = text.find("://");
  const std::string scheme = scheme_end == std::string_view::npos ? "" : ascii_lower(text.substr(0, scheme_end));
  if (scheme != "https" && scheme != "http") {
    return invalid("\"" + printable(text) + "\" is no https URL; write https://HOST[:PORT]");
  }
  url.secure = scheme == "https";
  std::string_view rest = text.substr(scheme_end + 3);
  const std::size_t query = rest.find('?');
  if (query != std::string_view::npos) {
    url.query = rest.substr(query + 1);
    rest = rest.substr(0, query);
    if (!with_query || !is_path(url.query, true)) return invalid("the URL has a query that can't be used");
  }
  const std::size_t path = std::min(rest.find('/'), rest.size());
  if (!parse_authority(rest.substr(0, path), url)) {
    return invalid("\"" + printable(text) + "\" names no host (and port) that can be used");
  }
  url.path = rest.substr(path);
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
  url.path += "/" + percent_encoded(segment);
  return url;
}

HttpUrl HttpUrl::with(std::string_view name, std::string_view value) const {
  HttpUrl url = *this;
  if (!url.query.empty()) url.query += "&";
  url.query += percent_encoded(name) + "=" + percent_encoded(value);
  return url;
}

std::string percent_encoded(std::string_view text) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 15U];
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kPrintableLimit)) out += c >= 0x20 && c < 0x7f && c != '"' ? c : '?';
  if (text.size() > kPrintableLimit) out += "...";
  return out;
}

}  // namespace vaultfs
