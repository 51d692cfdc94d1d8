#include "crypto/keyvault/local/local_key_vault.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "tests/crypto/keyvault/local/local_fixture.h"
#include "tests/support/scratch_directory.h"

namespace vaultfs {
namespace {

class KeySize : public LocalKeyVaultTest, public ::testing::WithParamInterface<unsigned> {};

TEST_P(KeySize, RoundTripAndRotationKeepsIt) {
  const KeyVersionInfo made =
      value_of(vault_->create_key("kek", {.bits = GetParam(), .not_before = {}, .expires = {}}));
  EXPECT_EQ(made.bits, GetParam());
  EXPECT_EQ(made.key_type, "RSA");
  EXPECT_EQ(made.created_unix_seconds, env_.clock().now().seconds());
  EXPECT_EQ(value_of(vault_->wrap_algorithm("kek", made.id)), kOaep);
  const std::string content(190, 'x');
  const Bytes wrapped = value_of(vault_->wrap("kek", made.id, bytes_of(content)));
  EXPECT_EQ(wrapped.size(), GetParam() / 8);
  EXPECT_EQ(text_of(value_of(open()->unwrap("kek", made.id, kOaep, wrapped))), content);
  if (GetParam() != 4096) {
    EXPECT_EQ(value_of(vault_->rotate_key("kek", {.bits = 0, .not_before = {}, .expires = {}}, true)).bits, GetParam());
  }
}

INSTANTIATE_TEST_SUITE_P(Rsa, KeySize, ::testing::Values(2048U, 3072U, 4096U));

TEST_F(LocalKeyVaultTest, OtherKeySizesAreRefusedAndLeaveNothing) {
  for (const unsigned bits : {0U, 1024U, 2047U, 8192U}) {
    EXPECT_TRUE(fails(vault_->create_key("kek", {.bits = bits, .not_before = {}, .expires = {}}),
                      ErrorCode::KeySizeUnsupported));
  }
  EXPECT_TRUE(value_of(vault_->list_keys()).empty());
}

TEST_F(LocalKeyVaultTest, PropertiesAreThoseOfItsCreation) {
  const KeyVaultProperties defaults = value_of(vault_->properties());
  EXPECT_EQ(defaults.provider, "local");
  EXPECT_EQ(defaults.location, "/kv");
  EXPECT_FALSE(defaults.region.has_value());
  EXPECT_EQ(defaults.soft_delete, true);
  EXPECT_EQ(defaults.purge_protection, true);
  succeed(LocalKeyVault::create(env_, "/kv2", "two",
                                {.protection = LocalProtection::machine_key,
                                 .region = "west europe",
                                 .soft_delete = false,
                                 .purge_protection = false},
                                nullptr));
  const KeyVaultProperties chosen = value_of(LocalKeyVault::open(env_, "/kv2", "two", nullptr)->properties());
  EXPECT_EQ(chosen.region, "west europe");
  EXPECT_EQ(chosen.soft_delete, false);
  EXPECT_EQ(chosen.purge_protection, false);
}

TEST_F(LocalKeyVaultTest, RotationToAnotherSizeAndItsLimits) {
  const std::string first = value_of(vault_->create_key("kek", small_key())).id;
  const std::string second =
      value_of(vault_->rotate_key("kek", {.bits = 3072, .not_before = {}, .expires = {}}, false)).id;
  EXPECT_EQ(ids(*vault_, "kek"), (std::vector{first, second}));
  EXPECT_EQ(value_of(vault_->list_versions("kek"))[1].bits, 3072U);
  EXPECT_TRUE(fails(vault_->rotate_key("nosuch", small_key(), true), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(vault_->rotate_key("kek", {.bits = 2048, .not_before = 20, .expires = 20}, false),
                    ErrorCode::InvalidArgument));
  EXPECT_TRUE(fails(vault_->create_key("kek", small_key()), ErrorCode::KeyExists, "vaultctl key rotate local/kek"));
  EXPECT_EQ(ids(*vault_, "kek"), (std::vector{first, second}));
}

TEST_F(LocalKeyVaultTest, NewVersionIsNewestAlsoWhenTheClockGoesBack) {
  const std::string first = value_of(vault_->create_key("kek", small_key())).id;
  env_.sim_clock().advance_seconds(-3600);
  const KeyVersionInfo second = value_of(vault_->rotate_key("kek", small_key(), true));
  EXPECT_EQ(ids(*vault_, "kek"), (std::vector{first, second.id}));
  EXPECT_GE(second.created_unix_seconds, value_of(vault_->list_versions("kek"))[0].created_unix_seconds);
}

TEST_F(LocalKeyVaultTest, ListsKeysByName) {
  for (const char* key : {"b", "a-b", "a"}) value_of(vault_->create_key(key, small_key()));
  env_.write("/kv/keys/c.json.tmp", bytes_of("{"));
  EXPECT_EQ(value_of(vault_->list_keys()), (std::vector<std::string>{"a", "a-b", "b"}));
}

TEST_F(LocalKeyVaultTest, ValidityPeriodIsThatOfTheClock) {
  const std::int64_t now = env_.clock().now().seconds();
  const std::string id =
      value_of(vault_->create_key("kek", {.bits = 2048, .not_before = now + 10, .expires = now + 20})).id;
  EXPECT_TRUE(fails(vault_->wrap("kek", id, bytes_of("x")), ErrorCode::KeyVersionNotYetValid));
  env_.sim_clock().advance_seconds(9);
  EXPECT_TRUE(fails(vault_->wrap("kek", id, bytes_of("x")), ErrorCode::KeyVersionNotYetValid));
  env_.sim_clock().advance_seconds(1);
  const Bytes wrapped = value_of(vault_->wrap("kek", id, bytes_of("x")));
  env_.sim_clock().advance_seconds(10);
  EXPECT_TRUE(
      fails(vault_->wrap("kek", id, bytes_of("x")), ErrorCode::KeyVersionExpired, "vaultctl key rotate local/kek"));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", id, kOaep, wrapped))), "x");
  env_.sim_clock().advance_seconds(-20);
  EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", id, kOaep, wrapped))), "x");
  const KeyVersionInfo listed = value_of(vault_->list_versions("kek"))[0];
  EXPECT_EQ(listed.not_before, now + 10);
  EXPECT_EQ(listed.expires, now + 20);
}

TEST_F(LocalKeyVaultTest, EnablingSaysWhatToTypeAndUnknownVersionsAreNamed) {
  const std::string id = value_of(vault_->create_key("kek", small_key())).id;
  succeed(vault_->set_enabled("kek", id, false));
  succeed(vault_->set_enabled("kek", id, false));
  EXPECT_TRUE(fails(vault_->wrap("kek", id, bytes_of("x")), ErrorCode::KeyVersionDisabled,
                    "vaultctl key enable local/kek/" + id));
  EXPECT_TRUE(fails(vault_->set_enabled("kek", std::string(32, '0'), true), ErrorCode::KeyVersionNotFound));
  EXPECT_TRUE(fails(vault_->set_enabled("nosuch", id, true), ErrorCode::KeyNotFound));
}

TEST_F(LocalKeyVaultTest, NamesThatAreNoneNeverReachTheDisk) {
  for (const std::string& name : {std::string(), std::string("../vault"), std::string("a/b"), std::string("a\nb"),
                                  std::string("."), std::string(300, 'k'), std::string("a\0b", 3)}) {
    EXPECT_TRUE(fails(vault_->list_versions(name), ErrorCode::InvalidName));
    EXPECT_TRUE(fails(vault_->wrap(name, "v", {}), ErrorCode::InvalidName));
    EXPECT_TRUE(fails(vault_->create_key(name, small_key()), ErrorCode::InvalidName));
    EXPECT_TRUE(fails(vault_->set_enabled(name, "v", true), ErrorCode::InvalidName));
    EXPECT_TRUE(fails(vault_->import_version(name, {}, nullptr, {}), ErrorCode::InvalidName));
    EXPECT_TRUE(fails(LocalKeyVault::create(env_, "/other", name, {}, nullptr), ErrorCode::InvalidName));
  }
  value_of(vault_->create_key("kek", small_key()));
  EXPECT_TRUE(fails(vault_->wrap("kek", "a\nb", {}), ErrorCode::KeyVersionNotFound));
  EXPECT_EQ(vault_->wrap("kek", "a\nb", {}).error().message.find('\n'), std::string::npos);
}

TEST_F(LocalKeyVaultTest, ExportedVersionIsTheSameInAnotherKeyVault) {
  const std::string first = value_of(vault_->create_key("kek", small_key())).id;
  const std::string second = value_of(vault_->rotate_key("kek", small_key(), true)).id;
  const Bytes by_first = value_of(vault_->wrap("kek", first, bytes_of("content")));
  const SecretBuffer passphrase = secret("correct horse");
  const std::string pem = value_of(vault_->export_version("kek", &first, passphrase));
  const std::string newest_pem = value_of(vault_->export_version("kek", nullptr, passphrase));
  EXPECT_TRUE(fails(vault_->export_version("kek", nullptr, SecretBuffer()), ErrorCode::PassphraseRequired));

  succeed(LocalKeyVault::create(env_, "/kv2", "two", {}, nullptr));
  const auto two = LocalKeyVault::open(env_, "/kv2", "two", nullptr);
  EXPECT_TRUE(fails(two->import_version("moved", bytes_of(pem), nullptr, {}), ErrorCode::PassphraseRequired));
  const SecretBuffer wrong = secret("wrong");
  EXPECT_TRUE(fails(two->import_version("moved", bytes_of(pem), &wrong, {}), ErrorCode::WrongPassphrase));
  EXPECT_TRUE(value_of(two->list_keys()).empty());

  EXPECT_EQ(value_of(two->import_version("moved", bytes_of(newest_pem), &passphrase, {})).id, second);
  // Given its old time, the older version stands first although it comes second.
  EXPECT_EQ(value_of(two->import_version("moved", bytes_of(pem), &passphrase, 1000)).id, first);
  EXPECT_EQ(ids(*two, "moved"), (std::vector{first, second}));
  EXPECT_EQ(value_of(two->list_versions("moved"))[0].created_unix_seconds, 1000);
  EXPECT_EQ(text_of(value_of(two->unwrap("moved", first, kOaep, by_first))), "content");
  EXPECT_TRUE(fails(two->import_version("moved", bytes_of(pem), &passphrase, {}), ErrorCode::AlreadyExists));
  EXPECT_EQ(ids(*two, "moved").size(), 2U);
}

class Openssl : public LocalKeyVaultTest {
 protected:
  // Runs openssl with its files in the scratch directory.
  bool run(const std::string& arguments) {
    const std::string command = "cd '" + scratch_.path().string() + "' && openssl " + arguments + " >out 2>err";
    return std::system(command.c_str()) == 0;
  }
  std::string content(const std::string& name) {
    std::ifstream in(scratch_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  ScratchDirectory scratch_;
};

TEST_F(Openssl, ReadsAnExportAndOpensAWrap) {
  const std::string id = value_of(vault_->create_key("kek", small_key())).id;
  std::ofstream(scratch_ / "key.pem") << value_of(vault_->export_version("kek", nullptr, secret("pass")));
  ASSERT_TRUE(run("pkey -in key.pem -passin pass:pass -pubout -outform DER -out pub.der")) << content("err");
  EXPECT_FALSE(run("pkey -in key.pem -passin pass:other -noout"));
  ASSERT_TRUE(run("dgst -sha256 -r pub.der"));
  EXPECT_EQ(content("out").substr(0, 32), id);
  const Bytes wrapped = value_of(vault_->wrap("kek", id, bytes_of("content")));
  std::ofstream(scratch_ / "wrapped", std::ios::binary) << text_of(ByteView(wrapped));
  ASSERT_TRUE(
      run("pkeyutl -decrypt -inkey key.pem -passin pass:pass -in wrapped -out plain "
          "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256"))
      << content("err");
  EXPECT_EQ(content("plain"), "content");
}

TEST_F(Openssl, ImportsWhatOpensslMadeAndRefusesWhatIsNoUsableKey) {
  ASSERT_TRUE(run("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem"));
  const KeyVersionInfo made = value_of(vault_->import_version("kek", bytes_of(content("rsa.pem")), nullptr, {}));
  EXPECT_TRUE(made.enabled);
  const Bytes wrapped = value_of(vault_->wrap("kek", made.id, bytes_of("content")));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", made.id, kOaep, wrapped))), "content");

  ASSERT_TRUE(run("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem"));
  EXPECT_TRUE(fails(vault_->import_version("ec", bytes_of(content("ec.pem")), nullptr, {}), ErrorCode::KeyNotRsa));
  ASSERT_TRUE(run("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.pem"));
  EXPECT_TRUE(fails(vault_->import_version("small", bytes_of(content("small.pem")), nullptr, {}),
                    ErrorCode::KeySizeUnsupported));
  ASSERT_TRUE(run("pkey -in rsa.pem -pubout -out public.pem"));
  EXPECT_FALSE(vault_->import_version("public", bytes_of(content("public.pem")), nullptr, {}).ok());
  EXPECT_FALSE(vault_->import_version("garbage", bytes_of("no PEM at all"), nullptr, {}).ok());
  EXPECT_FALSE(vault_->import_version("garbage", {}, nullptr, {}).ok());
  EXPECT_EQ(value_of(vault_->list_keys()), std::vector<std::string>{"kek"});
}

TEST_F(LocalKeyVaultTest, ChangesInsideALockedSectionWork) {
  const std::string id = value_of(vault_->create_key("kek", small_key())).id;
  succeed(vault_->with_lock([&]() -> Status {
    VAULTFS_RETURN_IF_ERROR(vault_->set_enabled("kek", id, false));
    return vault_->with_lock([&] { return vault_->set_enabled("kek", id, true); });
  }));
  const Status failed = vault_->with_lock([]() -> Status { return Error{ErrorCode::KeyVersionInUse, "no"}; });
  EXPECT_TRUE(fails(failed, ErrorCode::KeyVersionInUse));
  // The lock is free again after both.
  EXPECT_TRUE(env_.lock("/kv/lock").ok());
}

}  // namespace
}  // namespace vaultfs
