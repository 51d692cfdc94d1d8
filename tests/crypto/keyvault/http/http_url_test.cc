#include <gtest/gtest.h>

#include <string>

#include "crypto/keyvault/http/url.h"
#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {
namespace {

Result<HttpUrl> parse(std::string_view text, PlainHttp plain = PlainHttp::never, bool with_query = false) {
  return HttpUrl::parse(text, "the option address", plain, with_query);
}

TEST(HttpUrl, TakesServersWithPortsAndPaths) {
  const HttpUrl url = value_of(parse("HTTPS://Office.Vault.Azure.NET:8443/team/a/"));
  EXPECT_TRUE(url.secure);
  EXPECT_EQ(url.host, "office.vault.azure.net");
  EXPECT_EQ(url.port, 8443);
  EXPECT_EQ(url.to_string(), "https://office.vault.azure.net:8443/team/a");
  EXPECT_EQ(value_of(parse("https://a.example:443")).to_string(), "https://a.example");
  EXPECT_EQ(value_of(parse("https://[FE80::1]:8200")).origin(), "https://[fe80::1]:8200");
  EXPECT_EQ(value_of(parse("https://10.0.0.1")).host, "10.0.0.1");
  const HttpUrl next =
      value_of(parse("https://a.example:443/keys?api-version=7.3&$skiptoken=a%2F", PlainHttp::never, true));
  EXPECT_EQ(next.query, "api-version=7.3&$skiptoken=a%2F");
  EXPECT_TRUE(next.same_origin(value_of(parse("https://A.example/other"))));
  EXPECT_FALSE(next.same_origin(value_of(parse("https://a.example:444"))));
}

TEST(HttpUrl, RefusesWhatIsNoPlainHttpsUrl) {
  for (const char* const text : {"",
                                 "office",
                                 "//office",
                                 "https:",
                                 "https://",
                                 "https:///path",
                                 "ftp://office",
                                 "file:///etc/passwd",
                                 "https://user@office",
                                 "https://user:pass@office",
                                 "https://office#part",
                                 "https://office/a#b",
                                 "https://office?query",
                                 "https://office:",
                                 "https://office:0",
                                 "https://office:65536",
                                 "https://office:+1",
                                 "https://office:8x",
                                 "https://off ice",
                                 "https://-office",
                                 "https://office-",
                                 "https://office..example",
                                 "https://.office",
                                 "https://office.",
                                 "https://office/../keys",
                                 "https://office/./keys",
                                 "https://office/a\nb",
                                 "https://office/%zz",
                                 "https://office/%2",
                                 "https://1.2.3",
                                 "https://0x7f000001",
                                 "https://127.0.0.01",
                                 "https://256.0.0.1",
                                 "https://127.1",
                                 "https://[::1",
                                 "https://[::g]",
                                 "https://[]",
                                 "https://of\xc3\xbc.example",
                                 "https://office\\@evil.example",
                                 "https://office%2eexample"}) {
    EXPECT_TRUE(fails(parse(text), ErrorCode::InvalidArgument, "the option address")) << text;
  }
  EXPECT_TRUE(fails(parse("https://" + std::string(254, 'a')), ErrorCode::InvalidArgument));
  EXPECT_TRUE(fails(parse("https://a/" + std::string(3000, 'a')), ErrorCode::InvalidArgument, "too long"));
}

// Each of these is a URL for libcurl, or was one in some version of it.
TEST(HttpUrl, RefusesWhatLibcurlForgives) {
  using namespace std::string_view_literals;
  for (const std::string_view text : {" https://office"sv,
                                      "https://office "sv,
                                      "\thttps://office"sv,
                                      "https://office\n"sv,
                                      "https://office\0.example"sv,
                                      "https:/office"sv,
                                      "https:office"sv,
                                      "https:////office"sv,
                                      "https:///[::1]"sv,
                                      "https:\\\\office"sv,
                                      "ftp.office.example"sv,
                                      "localhost/https://office"sv,
                                      "https://0x7f.1"sv,
                                      "https://0177.0.0.1"sv,
                                      "https://127.0.1"sv,
                                      "https://2130706433"sv,
                                      "https://127.0.0.1."sv,
                                      "https://0"sv,
                                      "https://@office"sv,
                                      "https://:@office"sv,
                                      "https://user;auth=any@office"sv,
                                      "https://office#"sv,
                                      "https://office/a#"sv,
                                      "https://office?"sv,
                                      "https://office/?"sv,
                                      "https://office:443:443"sv,
                                      "https://office: 443"sv,
                                      "https://office:4294967739"sv,
                                      "https://office:/keys"sv,
                                      "https://[::1]:"sv,
                                      "https://[::1]443"sv,
                                      "https://[::1].example"sv,
                                      "https://[1::2::3]"sv,
                                      "https://[1:2:3:4:5:6:7:8:9]"sv,
                                      "https://[fe80::1%eth0]"sv,
                                      "https://[fe80::1%25eth0]"sv,
                                      "https://[127.0.0.1]"sv,
                                      "https://off_ice"sv,
                                      "https://office%00"sv,
                                      "https://office%2f.example"sv,
                                      "https://office/a\\b"sv,
                                      "https://office/a|b"sv,
                                      "https://office/[a]"sv,
                                      "https://office/\"a\""sv,
                                      "https://office/\xc3\xbc"sv,
                                      "https://xn--\xc3\xbc.example"sv,
                                      "https://office\xe3\x80\x82"
                                      "example"sv}) {
    for (const bool with_query : {false, true}) {
      if (with_query && text.ends_with('?')) continue;
      EXPECT_TRUE(fails(parse(text, PlainHttp::never, with_query), ErrorCode::InvalidArgument, "the option address"))
          << text;
    }
  }
}

TEST(HttpUrl, OneAddressHasOneHost) {
  for (const char* const text :
       {"https://[2001:db8::1]", "https://[2001:DB8:0:0:0:0:0:1]:443", "https://[2001:db8:0::1]"}) {
    EXPECT_EQ(value_of(parse(text)).to_string(), "https://[2001:db8::1]") << text;
  }
  EXPECT_EQ(value_of(parse("https://a.example:0443//b//")).to_string(), "https://a.example//b");
  EXPECT_EQ(value_of(parse("https://a.example?a=?/@", PlainHttp::never, true)).to_string(), "https://a.example?a=?/@");
}

TEST(HttpUrl, PlainHttpGoesToLoopbackOnlyAndOnlyIfAllowed) {
  for (const char* const text : {"http://127.0.0.1:8200", "http://127.8.9.10", "http://localhost", "http://[::1]",
                                 "http://kv.vault.localhost:80"}) {
    EXPECT_TRUE(fails(parse(text), ErrorCode::InvalidArgument, "allow-http=loopback")) << text;
    EXPECT_TRUE(value_of(parse(text, PlainHttp::loopback)).is_loopback()) << text;
  }
  for (const char* const text :
       {"http://office.example", "http://10.0.0.1", "http://128.0.0.1", "http://[::2]", "http://localhost.example",
        "http://127.0.0.1.example", "http://xlocalhost", "http://[::ffff:127.0.0.1]"}) {
    EXPECT_TRUE(fails(parse(text, PlainHttp::loopback), ErrorCode::InvalidArgument, "plain http is refused")) << text;
  }
  const char* const metadata = "http://169.254.169.254";
  EXPECT_TRUE(fails(parse(metadata, PlainHttp::loopback), ErrorCode::InvalidArgument));
  EXPECT_EQ(value_of(parse(metadata, PlainHttp::link_local)).port, 80);
  EXPECT_TRUE(fails(parse("http://169.254.169.253", PlainHttp::link_local), ErrorCode::InvalidArgument));
}

TEST(HttpUrl, WhatIsAppendedIsEncoded) {
  const HttpUrl base = value_of(parse("https://a.example"));
  EXPECT_EQ(base.at("keys").at("../a b").with("resource", "https://x/?y").with("z", "1").to_string(),
            "https://a.example/keys/..%2Fa%20b?resource=https%3A%2F%2Fx%2F%3Fy&z=1");
  EXPECT_EQ(percent_encoded(std::string_view("-._~\0+\xff&", 8)), "-._~%00%2B%FF%26");
  EXPECT_EQ(percent_encoded(""), "");
}

TEST(HttpUrl, ForeignTextIsShownOnOneBoundedLine) {
  EXPECT_EQ(printable("a\r\n\x1b[31mb\"c"), "a???[31mb?c");
  EXPECT_EQ(printable(std::string(500, 'a')).size(), 203U);
}

}  // namespace
}  // namespace vaultfs
