#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "crypto/keyvault/administered_key_vault.h"
#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {

// What every KeyVault must do, whatever is behind it. A provider's test instantiates the suite with a Harness:
//
//   INSTANTIATE_TYPED_TEST_SUITE_P(Local, KeyVaultConformance, LocalHarness);
//
//   class Harness {
//     static constexpr ProviderTraits kTraits{…};     what the provider can do; what it can't must be refused by name
//     AdministeredKeyVault& vault();                  the key vault under test
//     std::int64_t now();                             the time it goes by, Unix seconds
//     std::string create_key(const std::string& key); makes a key; the id of its first version
//     std::string add_version(const std::string& key, std::optional<std::int64_t> nbf, std::optional<std::int64_t>
//     exp);
//                                                     makes a new version, newest; its id
//     void set_enabled(const std::string& key, const std::string& version, bool enabled);
//                                                     as the key vault's administrator does, behind the provider's back
//     std::string unknown_version();                  an id of the right form that no key has
//     void begin_outage(); void end_outage();         makes the key vault unreachable, and reachable again
//     void begin_denial(); void end_denial();         the key vault's administrator takes every permission away, and
//                                                     gives it back (used if kTraits.denial)
//   };
struct ProviderTraits {
  bool reversible_disable = true;  // of any single version, in any order
  bool validity_dates = true;      // nbf and exp
  bool denial = true;              // permissions can be taken away while the key vault goes on
};

template <typename Harness>
class KeyVaultConformance : public ::testing::Test {
 protected:
  static constexpr std::int64_t kDay = 24 * 60 * 60;

  AdministeredKeyVault& vault() { return harness_.vault(); }
  std::string algorithm(const std::string& key, const std::string& version) {
    return value_of(vault().wrap_algorithm(key, version));
  }
  Bytes wrap(const std::string& key, const std::string& version, std::string_view content) {
    return value_of(vault().wrap(key, version, bytes_of(content)));
  }
  std::vector<std::string> version_ids(const std::string& key) {
    std::vector<std::string> ids;
    for (const KeyVersionInfo& version : value_of(vault().list_versions(key))) ids.push_back(version.id);
    return ids;
  }

  Harness harness_;
};

TYPED_TEST_SUITE_P(KeyVaultConformance);

TYPED_TEST_P(KeyVaultConformance, UnwrapsWhatItWrapped) {
  const std::string version = this->harness_.create_key("kek");
  const std::string algorithm = this->algorithm("kek", version);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{65}, std::size_t{190}}) {
    const std::string content(size, 'k');
    const Bytes wrapped = this->wrap("kek", version, content);
    if (size >= 32) {
      EXPECT_EQ(text_of(ByteView(wrapped)).find(content), std::string_view::npos);
    }
    EXPECT_EQ(text_of(value_of(this->vault().unwrap("kek", version, algorithm, wrapped))), content);
  }
}

TYPED_TEST_P(KeyVaultConformance, WrapsAreRandomised) {
  const std::string version = this->harness_.create_key("kek");
  EXPECT_NE(this->wrap("kek", version, "same"), this->wrap("kek", version, "same"));
}

TYPED_TEST_P(KeyVaultConformance, RefusesWhatIsLongerThanAWrap) {
  const std::string version = this->harness_.create_key("kek");
  EXPECT_TRUE(fails(this->vault().wrap("kek", version, bytes_of(std::string(191, 'k'))), ErrorCode::InvalidArgument));
}

TYPED_TEST_P(KeyVaultConformance, DisabledVersionNeitherWrapsNorUnwraps) {
  const std::string version = this->harness_.create_key("kek");
  const std::string algorithm = this->algorithm("kek", version);
  const Bytes wrapped = this->wrap("kek", version, "content");
  if constexpr (!TypeParam::kTraits.reversible_disable) {
    EXPECT_TRUE(fails(this->vault().set_enabled("kek", version, false), ErrorCode::NotSupportedByProvider));
    EXPECT_EQ(text_of(value_of(this->vault().unwrap("kek", version, algorithm, wrapped))), "content");
    return;
  }
  this->harness_.set_enabled("kek", version, false);
  EXPECT_TRUE(fails(this->vault().wrap("kek", version, bytes_of("x")), ErrorCode::KeyVersionDisabled, version));
  EXPECT_TRUE(fails(this->vault().unwrap("kek", version, algorithm, wrapped), ErrorCode::KeyVersionDisabled, version));
  const auto versions = value_of(this->vault().list_versions("kek"));
  ASSERT_EQ(versions.size(), 1U);
  EXPECT_FALSE(versions[0].enabled);

  this->harness_.set_enabled("kek", version, true);
  EXPECT_EQ(text_of(value_of(this->vault().unwrap("kek", version, algorithm, wrapped))), "content");
  EXPECT_TRUE(value_of(this->vault().list_versions("kek"))[0].enabled);
}

TYPED_TEST_P(KeyVaultConformance, ExpiredVersionUnwrapsOnly) {
  const std::string first = this->harness_.create_key("kek");
  if constexpr (!TypeParam::kTraits.validity_dates) {
    const KeyOptions dated{.bits = 2048, .not_before = {}, .expires = this->harness_.now() + this->kDay};
    EXPECT_TRUE(fails(this->vault().rotate_key("kek", dated, true), ErrorCode::NotSupportedByProvider));
    return;
  }
  const std::string expired = this->harness_.add_version("kek", std::nullopt, this->harness_.now() - this->kDay);
  EXPECT_TRUE(fails(this->vault().wrap("kek", expired, bytes_of("x")), ErrorCode::KeyVersionExpired, expired));
  const auto versions = value_of(this->vault().list_versions("kek"));
  ASSERT_EQ(versions.size(), 2U);
  EXPECT_TRUE(versions[0].may_wrap(this->harness_.now()));
  EXPECT_FALSE(versions[1].may_wrap(this->harness_.now()));
  // The bytes are none of its own, so the answer is about them and not about the time.
  const Bytes foreign = this->wrap("kek", first, "content");
  EXPECT_TRUE(fails(this->vault().unwrap("kek", expired, this->algorithm("kek", expired), foreign),
                    ErrorCode::AuthenticationFailed));
}

TYPED_TEST_P(KeyVaultConformance, VersionThatIsNotYetValidUnwrapsOnly) {
  const std::string first = this->harness_.create_key("kek");
  if constexpr (!TypeParam::kTraits.validity_dates) {
    const KeyOptions dated{.bits = 2048, .not_before = this->harness_.now() + this->kDay, .expires = {}};
    EXPECT_TRUE(fails(this->vault().rotate_key("kek", dated, true), ErrorCode::NotSupportedByProvider));
    return;
  }
  const std::string later = this->harness_.add_version("kek", this->harness_.now() + this->kDay, std::nullopt);
  EXPECT_TRUE(fails(this->vault().wrap("kek", later, bytes_of("x")), ErrorCode::KeyVersionNotYetValid, later));
  const Bytes foreign = this->wrap("kek", first, "content");
  EXPECT_TRUE(fails(this->vault().unwrap("kek", later, this->algorithm("kek", later), foreign),
                    ErrorCode::AuthenticationFailed));
}

TYPED_TEST_P(KeyVaultConformance, MissingKeyAndMissingVersionAreNamed) {
  const std::string version = this->harness_.create_key("kek");
  const std::string algorithm = this->algorithm("kek", version);
  const Bytes wrapped = this->wrap("kek", version, "content");
  AdministeredKeyVault& vault = this->vault();
  EXPECT_TRUE(fails(vault.list_versions("nosuch"), ErrorCode::KeyNotFound, "nosuch"));
  EXPECT_TRUE(fails(vault.wrap("nosuch", version, bytes_of("x")), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(vault.unwrap("nosuch", version, algorithm, wrapped), ErrorCode::KeyNotFound));
  const std::string unknown = this->harness_.unknown_version();
  EXPECT_TRUE(fails(vault.wrap("kek", unknown, bytes_of("x")), ErrorCode::KeyVersionNotFound, unknown));
  EXPECT_TRUE(fails(vault.unwrap("kek", unknown, algorithm, wrapped), ErrorCode::KeyVersionNotFound, unknown));
  EXPECT_TRUE(fails(vault.wrap_algorithm("kek", unknown), ErrorCode::KeyVersionNotFound));
}

TYPED_TEST_P(KeyVaultConformance, ListsVersionsOldestFirstAndSeesRotations) {
  std::vector<std::string> made{this->harness_.create_key("kek")};
  const std::string algorithm = this->algorithm("kek", made[0]);
  const Bytes wrapped = this->wrap("kek", made[0], "content");
  EXPECT_EQ(this->version_ids("kek"), made);
  for (int i = 0; i < 3; ++i) {
    made.push_back(this->harness_.add_version("kek", std::nullopt, std::nullopt));
    EXPECT_EQ(this->version_ids("kek"), made);
  }
  const auto versions = value_of(this->vault().list_versions("kek"));
  EXPECT_TRUE(std::ranges::is_sorted(versions, {}, &KeyVersionInfo::created_unix_seconds));
  // An old version goes on unwrapping after a rotation, and only what it has wrapped.
  EXPECT_EQ(text_of(value_of(this->vault().unwrap("kek", made[0], algorithm, wrapped))), "content");
  EXPECT_TRUE(fails(this->vault().unwrap("kek", made[1], algorithm, wrapped), ErrorCode::AuthenticationFailed));
}

TYPED_TEST_P(KeyVaultConformance, GarbageDoesNotUnwrap) {
  const std::string version = this->harness_.create_key("kek");
  const std::string algorithm = this->algorithm("kek", version);
  const Bytes wrapped = this->wrap("kek", version, "content");
  std::vector<Bytes> garbage{Bytes{}, Bytes(1), Bytes(wrapped.size()), Bytes(wrapped.size(), std::byte{0xff}),
                             Bytes(100'000)};
  garbage.emplace_back(wrapped.begin(), wrapped.end() - 1);
  garbage.push_back(wrapped);
  garbage.back().push_back(std::byte{0});
  for (std::size_t at = 0; at < wrapped.size(); at += 37) {
    garbage.push_back(wrapped);
    garbage.back()[at] ^= std::byte{0x10};
  }
  for (const Bytes& bytes : garbage) {
    EXPECT_TRUE(fails(this->vault().unwrap("kek", version, algorithm, bytes), ErrorCode::AuthenticationFailed))
        << bytes.size() << " bytes";
  }
  EXPECT_TRUE(
      fails(this->vault().unwrap("kek", version, "no-such-algorithm", wrapped), ErrorCode::NotSupportedByProvider));
}

TYPED_TEST_P(KeyVaultConformance, OutageIsNoRevocationAndHeals) {
  const std::string version = this->harness_.create_key("kek");
  const std::string algorithm = this->algorithm("kek", version);
  const Bytes wrapped = this->wrap("kek", version, "content");
  this->harness_.begin_outage();
  AdministeredKeyVault& vault = this->vault();
  EXPECT_TRUE(fails(vault.list_versions("kek"), ErrorCode::KeyVaultUnavailable));
  EXPECT_TRUE(fails(vault.list_versions("nosuch"), ErrorCode::KeyVaultUnavailable));
  EXPECT_TRUE(fails(vault.wrap("kek", version, bytes_of("x")), ErrorCode::KeyVaultUnavailable));
  EXPECT_TRUE(fails(vault.unwrap("kek", version, algorithm, wrapped), ErrorCode::KeyVaultUnavailable));
  this->harness_.end_outage();
  EXPECT_EQ(text_of(value_of(vault.unwrap("kek", version, algorithm, wrapped))), "content");
}

TYPED_TEST_P(KeyVaultConformance, DenialIsNoOutageAndHeals) {
  if constexpr (!TypeParam::kTraits.denial) {
    GTEST_SKIP() << "this provider has no permissions of its own";
  } else {
    const std::string version = this->harness_.create_key("kek");
    const std::string algorithm = this->algorithm("kek", version);
    const Bytes wrapped = this->wrap("kek", version, "content");
    this->harness_.begin_denial();
    AdministeredKeyVault& vault = this->vault();
    EXPECT_TRUE(fails(vault.list_versions("kek"), ErrorCode::KeyVaultDenied));
    EXPECT_TRUE(fails(vault.wrap("kek", version, bytes_of("x")), ErrorCode::KeyVaultDenied));
    EXPECT_TRUE(fails(vault.unwrap("kek", version, algorithm, wrapped), ErrorCode::KeyVaultDenied));
    this->harness_.end_denial();
    EXPECT_EQ(text_of(value_of(vault.unwrap("kek", version, algorithm, wrapped))), "content");
  }
}

REGISTER_TYPED_TEST_SUITE_P(KeyVaultConformance, UnwrapsWhatItWrapped, WrapsAreRandomised, RefusesWhatIsLongerThanAWrap,
                            DisabledVersionNeitherWrapsNorUnwraps, ExpiredVersionUnwrapsOnly,
                            VersionThatIsNotYetValidUnwrapsOnly, MissingKeyAndMissingVersionAreNamed,
                            ListsVersionsOldestFirstAndSeesRotations, GarbageDoesNotUnwrap,
                            OutageIsNoRevocationAndHeals, DenialIsNoOutageAndHeals);

}  // namespace vaultfs
