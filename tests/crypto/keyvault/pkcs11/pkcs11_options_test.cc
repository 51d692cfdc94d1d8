#include <gtest/gtest.h>

#include <string>

#include "crypto/keyvault/pkcs11/options.h"
#include "crypto/keyvault/pkcs11/pkcs11_key_vault.h"
#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {
namespace {

const ProviderOptions kPlain{{"module", "/m.so"}, {"token", "t1"}};

ProviderOptions pkcs11_with(ProviderOptions options, const std::string& name, const std::string& value) {
  options[name] = value;
  return options;
}

TEST(Pkcs11OptionsTest, TakesTokenOrUri) {
  const Pkcs11Options plain = value_of(Pkcs11Options::parse(kPlain));
  EXPECT_EQ(plain.module, "/m.so");
  EXPECT_EQ(plain.token, (Pkcs11TokenSelector{"t1", "", "", ""}));
  EXPECT_FALSE(plain.pin_file.has_value());
  EXPECT_EQ(plain.timeout, std::chrono::seconds(30));
  const Pkcs11Options by_uri = value_of(Pkcs11Options::parse(
      {{"uri", "pkcs11:token=The%20Token;serial=12ab;model=M;manufacturer=F%3bG?module-path=/usr/lib/m.so"},
       {"pin-file", "/p"},
       {"timeout", "5s"}}));
  EXPECT_EQ(by_uri.module, "/usr/lib/m.so");
  EXPECT_EQ(by_uri.token, (Pkcs11TokenSelector{"The Token", "12ab", "F;G", "M"}));
  EXPECT_EQ(by_uri.pin_file, "/p");
  EXPECT_EQ(by_uri.timeout, std::chrono::seconds(5));
}

TEST(Pkcs11OptionsTest, NamesTheOptionThatIsWrong) {
  const std::vector<std::pair<ProviderOptions, std::string>> wrong{
      {{}, "token"},
      {{{"token", "t1"}}, "module"},
      {{{"module", "/m.so"}}, "token and uri"},
      {pkcs11_with(kPlain, "uri", "pkcs11:token=t1"), "token and uri"},
      {pkcs11_with(kPlain, "token", std::string(33, 't')), "32 bytes"},
      {pkcs11_with(kPlain, "token", ""), "token is empty"},
      {pkcs11_with(kPlain, "module", "m.so"), "absolute"},
      {pkcs11_with(kPlain, "pin-file", "pin"), "absolute"},
      {pkcs11_with(kPlain, "pin", "1234"), "\"pin\" is unknown"},
      {pkcs11_with(kPlain, "\x1b[2J", "1"), "\"?[2J\" is unknown"},
      {pkcs11_with(kPlain, "timeout", "0"), "timeout"},
      {pkcs11_with(kPlain, "timeout", "601"), "timeout"},
      {pkcs11_with(kPlain, "timeout", "5m"), "timeout"},
      {pkcs11_with(kPlain, "timeout", "s"), "timeout"},
      {{{"module", "/m.so"}, {"uri", "pkcs11:token=t?module-path=/m.so"}}, "names a module as well"},
  };
  for (const auto& [options, part] : wrong) {
    EXPECT_TRUE(fails(check_pkcs11_options(options), ErrorCode::InvalidArgument, part)) << part;
    EXPECT_TRUE(fails(check_pkcs11_options(options), ErrorCode::InvalidArgument, "timeout=SECONDS")) << part;
  }
  succeed(check_pkcs11_options(kPlain));
}

TEST(Pkcs11OptionsTest, RefusesUrisThatNameMoreThanAToken) {
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"http://host/", "it is no PKCS#11 URI"},
      {"pkcs11:token=%zz", "it is no PKCS#11 URI"},
      {"pkcs11:", "names no token"},
      {"pkcs11:model=M", "names no token"},
      {"pkcs11:token=t;object=kek", "names an object"},
      {"pkcs11:token=t;id=%01", "names an object"},
      {"pkcs11:token=t;slot-id=1", "slot"},
      {"pkcs11:token=t;slot-description=d", "slot"},
      {"pkcs11:token=t;library-manufacturer=l", "module"},
      {"pkcs11:token=t?module-name=softhsm2", "module"},
      {"pkcs11:token=t?pin-value=1234", "PIN"},
      {"pkcs11:token=t?pin-source=file:/p", "PIN"},
      {"pkcs11:token=t;nosuch=1", "not known"},
      {"pkcs11:token=" + std::string(33, 't'), "option uri"},
      {"pkcs11:token=t;x=" + std::string(5000, 'x'), "longer"},
      {std::string("pkcs11:token=t\0;", 16), "zero byte"},
  };
  for (const auto& [uri, part] : wrong) {
    EXPECT_TRUE(fails(parse_pkcs11_uri(uri), ErrorCode::InvalidArgument, part)) << uri;
  }
  // A PIN that was written there all the same is in no message.
  EXPECT_EQ(parse_pkcs11_uri("pkcs11:token=t?pin-value=1234").error().message.find("1234"), std::string::npos);
  EXPECT_EQ(parse_pkcs11_uri("pkcs11:token=%zz?pin-value=1234").error().message.find("1234"), std::string::npos);
}

}  // namespace
}  // namespace vaultfs
