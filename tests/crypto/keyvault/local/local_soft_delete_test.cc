#include <thread>

#include "crypto/keyvault/local/key_file.h"
#include "tests/crypto/keyvault/local/local_fixture.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kDay = 24 * 60 * 60;

class LocalSoftDeleteTest : public LocalKeyVaultTest {
 protected:
  void remake(const LocalKeyVaultOptions& options) {
    env_.remove("/kv");
    succeed(LocalKeyVault::create(env_, "/kv", "local", options, nullptr));
    vault_ = open();
  }
  void advance_days(std::int64_t days) { env_.sim_clock().advance_seconds(days * kDay); }
};

TEST_F(LocalSoftDeleteTest, ADeletedKeyIsGoneForUsersAndComesBackWhole) {
  const std::string version = value_of(vault_->create_key("kek", small_key())).id;
  const Bytes wrapped = value_of(vault_->wrap("kek", version, bytes_of("content")));
  value_of(vault_->create_key("other", small_key()));
  succeed(vault_->delete_key("kek"));
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyNotFound, "vaultctl key recover local/kek"));
  EXPECT_TRUE(fails(vault_->unwrap("kek", version, kOaep, wrapped), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(vault_->set_enabled("kek", version, false), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(vault_->delete_key("kek"), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(vault_->create_key("kek", small_key()), ErrorCode::KeyExists, "key recover"));
  EXPECT_EQ(value_of(vault_->list_keys()), std::vector<std::string>{"other"});
  const auto deleted = value_of(open()->list_deleted());
  ASSERT_EQ(deleted.size(), 1U);
  EXPECT_EQ(deleted[0].key, "kek");
  EXPECT_EQ(deleted[0].versions, 1U);
  EXPECT_EQ(deleted[0].purge_after - deleted[0].deleted, 90 * kDay);
  succeed(vault_->recover_key("kek"));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", version, kOaep, wrapped))), "content");
  EXPECT_TRUE(value_of(vault_->list_deleted()).empty());
  EXPECT_TRUE(fails(vault_->recover_key("kek"), ErrorCode::AlreadyExists));
  EXPECT_TRUE(fails(vault_->recover_key("nosuch"), ErrorCode::KeyNotFound));
}

TEST_F(LocalSoftDeleteTest, PurgeProtectionKeepsItUntilTheRetentionIsOver) {
  remake({.retention_days = 7});
  value_of(vault_->create_key("kek", small_key()));
  EXPECT_TRUE(fails(vault_->purge_key("kek"), ErrorCode::InvalidArgument, "not deleted"));
  succeed(vault_->delete_key("kek"));
  EXPECT_TRUE(fails(vault_->purge_key("kek"), ErrorCode::PurgeProtected));
  advance_days(6);
  EXPECT_EQ(value_of(vault_->list_deleted()).size(), 1U);
  EXPECT_TRUE(env_.exists(path("kek")));
  advance_days(1);
  EXPECT_TRUE(value_of(vault_->list_deleted()).empty());
  EXPECT_TRUE(fails(vault_->recover_key("kek"), ErrorCode::KeyNotFound));
  EXPECT_FALSE(env_.exists(path("kek"))) << "the next change of the key vault removes it";
  value_of(vault_->create_key("kek", small_key()));  // the name is free again
}

TEST_F(LocalSoftDeleteTest, WithoutPurgeProtectionADeletedKeyCanBeDestroyed) {
  remake({.purge_protection = false});
  value_of(vault_->create_key("kek", small_key()));
  succeed(vault_->delete_key("kek"));
  succeed(vault_->purge_key("kek"));
  EXPECT_FALSE(env_.exists(path("kek")));
  EXPECT_TRUE(fails(vault_->purge_key("kek"), ErrorCode::KeyNotFound));
}

TEST_F(LocalSoftDeleteTest, WithoutSoftDeleteItIsGoneAtOnce) {
  remake({.soft_delete = false, .purge_protection = false});
  value_of(vault_->create_key("kek", small_key()));
  succeed(vault_->delete_key("kek"));
  EXPECT_FALSE(env_.exists(path("kek")));
  EXPECT_TRUE(fails(vault_->recover_key("kek"), ErrorCode::KeyNotFound));
}

TEST_F(LocalSoftDeleteTest, ProtectionIsTurnedOnAndNeverOff) {
  remake({.soft_delete = false, .purge_protection = false});
  EXPECT_TRUE(fails(vault_->enable_protection(false, true), ErrorCode::SoftDeleteRequired));
  EXPECT_EQ(value_of(vault_->properties()).purge_protection, false);
  succeed(vault_->enable_protection(true, true));
  succeed(vault_->enable_protection(false, false));
  EXPECT_EQ(value_of(vault_->properties()).soft_delete, true);
  EXPECT_EQ(value_of(vault_->properties()).purge_protection, true);
}

TEST_F(LocalSoftDeleteTest, OptionsThatCannotBeAreRefused) {
  EXPECT_TRUE(fails(LocalKeyVault::create(env_, "/a", "a", {.soft_delete = false}, nullptr), ErrorCode::InvalidArgument,
                    "soft delete"));
  for (const unsigned days : {0U, 6U, 91U}) {
    EXPECT_TRUE(fails(LocalKeyVault::create(env_, "/a", "a", {.retention_days = days}, nullptr),
                      ErrorCode::InvalidArgument, "7 to 90"));
  }
  EXPECT_FALSE(env_.exists("/a/vault.json"));
}

TEST_F(LocalSoftDeleteTest, AnImportDoesNotReplaceADeletedKey) {
  value_of(vault_->create_key("kek", small_key()));
  const std::string pem = value_of(vault_->export_version("kek", nullptr, secret("pass")));
  succeed(vault_->delete_key("kek"));
  const SecretBuffer passphrase = secret("pass");
  EXPECT_TRUE(fails(vault_->import_version("kek", bytes_of(pem), &passphrase, {}), ErrorCode::KeyExists, "recover"));
  value_of(vault_->import_version("copy", bytes_of(pem), &passphrase, {}));
}

// --- what lies outside ---

TEST_F(LocalSoftDeleteTest, ExportsAreRememberedByVersion) {
  const std::string first = value_of(vault_->create_key("kek", small_key())).id;
  EXPECT_EQ(value_of(vault_->exports("kek"))[0].exported, std::nullopt);
  const std::string as_before = std::string(text_of(ByteView(env_.read("/kv/keys/kek.json"))));
  EXPECT_EQ(as_before.find("exported"), std::string::npos) << "files of keys that stayed inside are as they were";
  succeed(vault_->note_export("kek", {first}));
  const std::int64_t at = env_.clock().now().seconds();
  advance_days(1);
  value_of(vault_->rotate_key("kek", small_key(), false));
  const auto after = value_of(open()->exports("kek"));
  ASSERT_EQ(after.size(), 2U);
  EXPECT_EQ(after[0].version, first);
  EXPECT_EQ(after[0].exported, at);
  EXPECT_EQ(after[1].exported, std::nullopt);
  EXPECT_TRUE(fails(vault_->note_export("kek", {std::string(32, '0')}), ErrorCode::KeyVersionNotFound));
}

// --- rotation policies ---

TEST_F(LocalSoftDeleteTest, APolicyThatCannotBeWrittenDownIsNotRun) {
  value_of(vault_->create_key("kek", small_key()));
  succeed(vault_->set_rotation_policy("kek", RotationPolicy{.after_create_days = 30}));
  unsigned asked = 0;
  const auto refuse = [&asked]() -> Status {
    ++asked;
    return Error{ErrorCode::IoError, "no log"};
  };
  EXPECT_FALSE(value_of(vault_->rotate_if_due("kek", refuse)).has_value()) << "nothing is due";
  EXPECT_EQ(asked, 0U);
  advance_days(31);
  EXPECT_TRUE(fails(vault_->rotate_if_due("kek", refuse), ErrorCode::IoError, "no log"));
  EXPECT_EQ(value_of(vault_->list_versions("kek")).size(), 1U);
  EXPECT_TRUE(value_of(vault_->rotate_if_due("kek", [] { return ok_status(); })).has_value());
}

TEST_F(LocalSoftDeleteTest, APolicyMakesOneVersionWhenItIsDue) {
  const std::string first = value_of(vault_->create_key("kek", small_key())).id;
  EXPECT_FALSE(value_of(vault_->rotate_if_due("kek")).has_value());
  succeed(vault_->set_rotation_policy("kek", RotationPolicy{.after_create_days = 30, .expiry_days = 60}));
  advance_days(29);
  EXPECT_FALSE(value_of(vault_->rotate_if_due("kek")).has_value());
  advance_days(1);
  const auto other = open();  // as another process
  const auto made = value_of(vault_->rotate_if_due("kek"));
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->bits, 2048U);
  EXPECT_EQ(made->expires, env_.clock().now().seconds() + 60 * kDay);
  EXPECT_FALSE(value_of(other->rotate_if_due("kek")).has_value());
  EXPECT_FALSE(value_of(vault_->rotate_if_due("kek")).has_value());
  EXPECT_EQ(ids(*vault_, "kek"), (std::vector<std::string>{first, made->id}));
  EXPECT_EQ(value_of(open()->rotation_policy("kek"))->after_create_days, 30U);
  succeed(vault_->set_rotation_policy("kek", std::nullopt));
  advance_days(365);
  EXPECT_FALSE(value_of(vault_->rotate_if_due("kek")).has_value());
}

// Two years ahead, once: the version that was made then must not keep the policy waiting for two years.
TEST_F(LocalSoftDeleteTest, AClockThatWasAheadOnceDoesNotStopAPolicy) {
  for (const RotationPolicy& policy : {RotationPolicy{.after_create_days = 30, .expiry_days = 60},
                                       RotationPolicy{.before_expiry_days = 30, .expiry_days = 60}}) {
    const std::string key = policy.after_create_days ? "kek" : "other";
    value_of(vault_->create_key(key, small_key()));
    succeed(vault_->set_rotation_policy(key, policy));
    const UnixNanos now = env_.clock().now();
    advance_days(730);
    const auto ahead = value_of(vault_->rotate_if_due(key));
    ASSERT_TRUE(ahead.has_value());
    env_.sim_clock().set(now);
    EXPECT_FALSE(value_of(vault_->rotate_if_due(key)).has_value()) << "not at once, and not at each look";
    advance_days(29);
    EXPECT_FALSE(value_of(open()->rotate_if_due(key)).has_value());
    advance_days(1);
    const auto made = value_of(vault_->rotate_if_due(key));
    ASSERT_TRUE(made.has_value());
    EXPECT_EQ(ids(*vault_, key).back(), made->id) << "the newest, whatever the dates";
    EXPECT_FALSE(value_of(vault_->rotate_if_due(key)).has_value());
    advance_days(30);
    EXPECT_TRUE(value_of(vault_->rotate_if_due(key)).has_value()) << "and on it goes";
  }
}

// With a clock that is behind, what is deleted now must not be gone when the clock is right again.
TEST_F(LocalSoftDeleteTest, ADeletedKeyIsKeptForItsTimeAlsoWhereTheClockHasGoneBack) {
  value_of(vault_->create_key("kek", small_key()));
  const UnixNanos now = env_.clock().now();
  env_.sim_clock().set({now.value - 730 * kDay * 1'000'000'000});
  succeed(vault_->delete_key("kek"));
  env_.sim_clock().set(now);
  succeed(vault_->recover_key("kek"));
}

TEST_F(LocalSoftDeleteTest, AnImportIsTheNewestAlsoWhereTheClockHasGoneBack) {
  const std::string first = value_of(vault_->create_key("kek", small_key())).id;
  const SecretBuffer passphrase = secret("pass");
  value_of(vault_->create_key("source", small_key()));
  const std::string pem = value_of(vault_->export_version("source", nullptr, passphrase));
  env_.sim_clock().set({env_.clock().now().value - 730 * kDay * 1'000'000'000});
  const std::string second = value_of(vault_->import_version("kek", bytes_of(pem), &passphrase, {})).id;
  EXPECT_EQ(ids(*vault_, "kek"), (std::vector<std::string>{first, second}));
}

// Two that found it due at the same time: the check is repeated under the lock.
TEST_F(LocalSoftDeleteTest, OfTwoThatAreDueTogetherOneMakesTheVersion) {
  value_of(vault_->create_key("kek", small_key()));
  succeed(vault_->set_rotation_policy("kek", RotationPolicy{.after_create_days = 7}));
  advance_days(7);
  const auto other = open();
  std::optional<KeyVersionInfo> mine;
  // Inside the lock of one, the other has read the file and waits; it must find it done.
  std::optional<Result<std::optional<KeyVersionInfo>>> theirs;
  std::thread waiting;
  succeed(vault_->with_lock([&]() -> Status {
    waiting = std::thread([&] { theirs = other->rotate_if_due("kek"); });
    VAULTFS_ASSIGN_OR_RETURN(mine, vault_->rotate_if_due("kek"));
    return ok_status();
  }));
  waiting.join();
  EXPECT_TRUE(mine.has_value());
  EXPECT_FALSE(value_of(*std::move(theirs)).has_value());
  EXPECT_EQ(ids(*vault_, "kek").size(), 2U);
}

TEST_F(LocalSoftDeleteTest, BeforeExpiryCountsFromTheVersionsOwnExpiryOrThePolicys) {
  RotationPolicy policy{.before_expiry_days = 10, .expiry_days = 40};
  const std::int64_t now = 1'000'000'000;
  KeyVersionInfo newest;
  newest.created_unix_seconds = now;
  EXPECT_FALSE(policy.due(newest, now + 30 * kDay - 1));
  EXPECT_TRUE(policy.due(newest, now + 30 * kDay));
  newest.expires = now + 100 * kDay;
  EXPECT_FALSE(policy.due(newest, now + 90 * kDay - 1));
  EXPECT_TRUE(policy.due(newest, now + 90 * kDay));
}

TEST_F(LocalSoftDeleteTest, PoliciesThatMakeNoSenseAreRefused) {
  value_of(vault_->create_key("kek", small_key()));
  for (const RotationPolicy& bad :
       {RotationPolicy{}, RotationPolicy{.after_create_days = 30, .before_expiry_days = 30, .expiry_days = 60},
        RotationPolicy{.after_create_days = 6}, RotationPolicy{.before_expiry_days = 30},
        RotationPolicy{.after_create_days = 30, .expiry_days = 27},
        RotationPolicy{.after_create_days = 30, .expiry_days = 30}}) {
    EXPECT_TRUE(fails(vault_->set_rotation_policy("kek", bad), ErrorCode::InvalidArgument));
  }
  EXPECT_FALSE(value_of(vault_->rotation_policy("kek")).has_value());
}

TEST(RotationPolicyDuration, IsDaysOrWeeks) {
  EXPECT_EQ(value_of(parse_duration_days("P30D")), 30U);
  EXPECT_EQ(value_of(parse_duration_days("30d")), 30U);
  EXPECT_EQ(value_of(parse_duration_days("P2W")), 14U);
  EXPECT_EQ(value_of(parse_duration_days("2w")), 14U);
  for (const char* bad :
       {"", "P", "PD", "30", "30D", "P30d", "P1M", "P1Y", "-1d", "1.5d", " 1d", "999999999d", "P-1D"}) {
    EXPECT_TRUE(fails(parse_duration_days(bad), ErrorCode::InvalidArgument)) << bad;
  }
}

TEST_F(LocalSoftDeleteTest, NewMembersThatAreWrongAreDamage) {
  value_of(vault_->create_key("kek", small_key()));
  const std::string good = key_text();
  for (const char* member :
       {R"("deleted": 1,)", R"("deleted": {"at": 1},)", R"("rotation_policy": {},)",
        R"("rotation_policy": {"after_create_days": -1},)", R"("rotation_policy": {"after_create_days": "30"},)"}) {
    std::string bad = good;
    bad.insert(bad.find('{') + 1, member);
    set_key_text(bad);
    EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::DamagedMachineState, "kek.json")) << member;
  }
  set_key_text(good);
  EXPECT_TRUE(vault_->list_versions("kek").ok());
}

}  // namespace
}  // namespace vaultfs
