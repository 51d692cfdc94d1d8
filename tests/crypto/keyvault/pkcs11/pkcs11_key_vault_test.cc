#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

#include "tests/crypto/keyvault/pkcs11/pkcs11_fixture.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kDaySeconds = 24 * 60 * 60;

// One token for all tests: making one, and RSA keys on it, takes long. Each test uses labels of its own.
class Pkcs11KeyVaultTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    token_ = std::make_unique<SoftToken>();
    pair_ = value_of(token_->open()->create_key("pair", small_pair())).id;
  }
  static void TearDownTestSuite() { token_.reset(); }

  static void make_aes(const std::string& label, const std::string& id, const std::string& type = "AES:32") {
    token_->tool({"--keygen", "--key-type", type, "--private", "--sensitive", "--label", label, "--id", id});
  }
  static std::int64_t now() { return posix_env().clock().now().seconds(); }

  static inline std::unique_ptr<SoftToken> token_;
  static inline std::string pair_;  // the version of the key "pair"
  std::unique_ptr<AdministeredKeyVault> vault_ = token_->open();
};

TEST_F(Pkcs11KeyVaultTest, RotationByTheTokensOwnToolsIsSeen) {
  token_->tool({"--keypairgen", "--key-type", "rsa:2048", "--label", "rotated", "--id", "0a01"});
  EXPECT_EQ(version_ids(*vault_, "rotated"), std::vector<std::string>{"0a01"});
  const Bytes wrapped = value_of(vault_->wrap("rotated", "0a01", bytes_of("content")));
  token_->tool({"--keypairgen", "--key-type", "rsa:2048", "--label", "rotated", "--id", "0900"});
  EXPECT_EQ(version_ids(*vault_, "rotated"), (std::vector<std::string>{"0a01", "0900"}));
  const std::string algorithm = value_of(vault_->wrap_algorithm("rotated", "0900"));
  const Bytes newer = value_of(vault_->wrap("rotated", "0900", bytes_of("newer")));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("rotated", "0900", algorithm, newer))), "newer");
  EXPECT_EQ(text_of(value_of(vault_->unwrap("rotated", "0a01", algorithm, wrapped))), "content");
}

TEST_F(Pkcs11KeyVaultTest, OrderFirstSeenIsKeptAcrossProcessesAndNotSharedByMachines) {
  make_aes("ordered", "0b");
  EXPECT_EQ(version_ids(*vault_, "ordered"), std::vector<std::string>{"0b"});
  make_aes("ordered", "0a");
  const std::vector<std::string> seen{"0b", "0a"};
  EXPECT_EQ(version_ids(*vault_, "ordered"), seen);
  vault_.reset();
  EXPECT_EQ(version_ids(*token_->open(), "ordered"), seen);
  // A machine that sees both at once can't know: it goes by the ids.
  const auto other_machine = token_->open(token_->options(), "other");
  EXPECT_EQ(version_ids(*other_machine, "ordered"), (std::vector<std::string>{"0a", "0b"}));
}

TEST_F(Pkcs11KeyVaultTest, StartDatesAgreeOnAllMachines) {
  const std::string first = value_of(vault_->create_key("dated", small_pair())).id;
  const KeyVersionInfo later = value_of(vault_->rotate_key(
      "dated", {.bits = 2048, .not_before = now() + 10 * kDaySeconds, .expires = now() + 20 * kDaySeconds}, false));
  EXPECT_GE(later.not_before, now() + 10 * kDaySeconds);
  EXPECT_LT(later.not_before, now() + 11 * kDaySeconds);
  EXPECT_LE(later.expires, now() + 20 * kDaySeconds);
  EXPECT_GT(later.expires, now() + 19 * kDaySeconds);
  EXPECT_EQ(later.created_unix_seconds, later.not_before);
  const auto other_machine = token_->open(token_->options(), "other");
  EXPECT_EQ(version_ids(*other_machine, "dated"), (std::vector<std::string>{first, later.id}));
  // Made now, so it starts today: between the two.
  const KeyVersionInfo today = value_of(vault_->rotate_key("dated", {}, true));
  ASSERT_TRUE(today.not_before.has_value());
  EXPECT_TRUE(today.may_wrap(now()));
  EXPECT_EQ(version_ids(*vault_, "dated"), (std::vector<std::string>{first, today.id, later.id}));
}

TEST_F(Pkcs11KeyVaultTest, AnExpiryThatADayCannotExpressIsRefused) {
  const auto refused = [&](std::int64_t nbf, std::int64_t exp) {
    return fails(vault_->rotate_key("pair", {.bits = 2048, .not_before = nbf, .expires = exp}, false),
                 ErrorCode::InvalidArgument, "keeps days");
  };
  const std::int64_t midnight = now() / kDaySeconds * kDaySeconds + kDaySeconds;
  EXPECT_TRUE(fails(vault_->rotate_key("pair", {.bits = 2048, .not_before = {}, .expires = midnight - 1}, false),
                    ErrorCode::InvalidArgument, "keeps days"));
  EXPECT_TRUE(refused(midnight + 3600, midnight + 7200));
  EXPECT_TRUE(refused(midnight + 3600, midnight + 2 * kDaySeconds - 1));
  EXPECT_EQ(version_ids(*vault_, "pair"), std::vector<std::string>{pair_});
}

TEST_F(Pkcs11KeyVaultTest, OneOddObjectDoesNotHideTheOthers) {
  make_aes("twice", "01");
  const Bytes wrapped = value_of(vault_->wrap("twice", "01", bytes_of("content")));
  make_aes("twice", "02");
  make_aes("twice", "02");
  token_->tool({"--keygen", "--key-type", "AES:32", "--private", "--label", "twice"});
  make_aes("twice", std::string(130, '7'));  // of no use in a reference, and in the file of first sightings
  const auto listed = value_of(vault_->list_versions("twice"));
  ASSERT_EQ(listed.size(), 2U);
  EXPECT_EQ(listed[0].id + listed[0].key_type, "01AES");
  EXPECT_EQ(listed[1].id + listed[1].key_type, "02AES (two objects of one CKA_ID)");
  // Which of two objects is meant is no guess.
  EXPECT_TRUE(fails(vault_->wrap("twice", "02", bytes_of("x")), ErrorCode::NotSupportedByProvider, "02"));
  EXPECT_TRUE(fails(vault_->wrap_algorithm("twice", "02"), ErrorCode::NotSupportedByProvider, "02"));
  EXPECT_TRUE(fails(vault_->unwrap("twice", "02", "A256GCM", wrapped), ErrorCode::NotSupportedByProvider, "02"));
  // What is certain goes on.
  EXPECT_EQ(text_of(value_of(vault_->unwrap("twice", "01", "A256GCM", wrapped))), "content");
  EXPECT_EQ(value_of(vault_->rotate_key("twice", {}, true)).key_type, "AES");
  token_->tool({"--keygen", "--key-type", "AES:32", "--private", "--label", "nameless"});
  EXPECT_TRUE(fails(vault_->list_versions("nameless"), ErrorCode::NotSupportedByProvider, "no CKA_ID"));
}

TEST_F(Pkcs11KeyVaultTest, KeysThatAnybodyCanHavePutThereWrapNothing) {
  make_aes("planted", "0a");
  const Bytes wrapped = value_of(vault_->wrap("planted", "0a", bytes_of("content")));
  for (const char* id : {"dead", "0a", ""}) token_->plant("planted", id);
  const auto listed = value_of(vault_->list_versions("planted"));
  ASSERT_EQ(listed.size(), 2U);
  EXPECT_EQ(listed[0].id + listed[0].key_type, "deadAES (a public object)");
  EXPECT_EQ(listed[1].id + listed[1].key_type, "0aAES");
  EXPECT_TRUE(fails(vault_->wrap("planted", "dead", bytes_of("x")), ErrorCode::NotSupportedByProvider, "CKA_PRIVATE"));
  EXPECT_TRUE(fails(vault_->wrap_algorithm("planted", "dead"), ErrorCode::NotSupportedByProvider, "CKA_PRIVATE"));
  // A double of the owner's own id changes nothing for it, and the owner still rotates.
  EXPECT_EQ(text_of(value_of(vault_->unwrap("planted", "0a", "A256GCM", wrapped))), "content");
  EXPECT_EQ(text_of(value_of(vault_->unwrap("planted", "0a", "A256GCM",
                                            value_of(vault_->wrap("planted", "0a", bytes_of("content")))))),
            "content");
  const std::string next = value_of(vault_->rotate_key("planted", {}, true)).id;
  EXPECT_EQ(version_ids(*vault_, "planted"), (std::vector<std::string>{"dead", "0a", next}));

  // An owner's key that is public (pkcs11-tool makes them so without --private) is followed by one that is not.
  token_->plant("open", "01");
  const std::string closed = value_of(vault_->rotate_key("open", {}, true)).id;
  EXPECT_EQ(version_ids(*vault_, "open"), (std::vector<std::string>{"01", closed}));
  value_of(vault_->wrap("open", closed, bytes_of("x")));
}

TEST_F(Pkcs11KeyVaultTest, OtherKeysAreListedAndWrapNothing) {
  make_aes("short", "01", "AES:16");
  const auto listed = value_of(vault_->list_versions("short"));
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_EQ(listed[0].key_type, "AES");
  EXPECT_EQ(listed[0].bits, 128U);
  EXPECT_TRUE(fails(vault_->wrap("short", "01", bytes_of("x")), ErrorCode::KeySizeUnsupported));
  token_->tool({"--keypairgen", "--key-type", "EC:prime256v1", "--label", "curve", "--id", "01"});
  EXPECT_EQ(value_of(vault_->list_versions("curve"))[0].key_type, "EC");
  EXPECT_FALSE(vault_->wrap("curve", "01", bytes_of("x")).ok());
  EXPECT_TRUE(fails(vault_->rotate_key("curve", {}, true), ErrorCode::KeyNotRsa));
}

TEST_F(Pkcs11KeyVaultTest, MakesPairsThatStayOnTheToken) {
  EXPECT_TRUE(fails(vault_->create_key("pair", small_pair()), ErrorCode::KeyExists, "hsm/pair"));
  EXPECT_TRUE(
      fails(vault_->create_key("odd", {.bits = 1024, .not_before = {}, .expires = {}}), ErrorCode::KeySizeUnsupported));
  EXPECT_TRUE(fails(vault_->create_key("odd", {.bits = 2048, .not_before = now() + kDaySeconds, .expires = now()}),
                    ErrorCode::InvalidArgument));
  EXPECT_TRUE(fails(vault_->create_key("no/name", small_pair()), ErrorCode::InvalidName));
  EXPECT_TRUE(fails(vault_->rotate_key("nosuch", {}, true), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(vault_->delete_key("pair"), ErrorCode::NotSupportedByProvider, "for good"));
  EXPECT_TRUE(fails(vault_->recover_key("pair"), ErrorCode::NotSupportedByProvider));
  EXPECT_TRUE(fails(vault_->purge_key("pair"), ErrorCode::NotSupportedByProvider));
  EXPECT_EQ(pair_.size(), 32U);
  const auto keys = value_of(vault_->list_keys());
  EXPECT_TRUE(std::ranges::is_sorted(keys));
  EXPECT_EQ(std::ranges::count(keys, "pair"), 1);
  const std::string objects = token_->tool({"--list-objects", "--type", "privkey"});
  const std::size_t at = objects.find("label:      pair");
  ASSERT_NE(at, std::string::npos);
  EXPECT_NE(objects.find("sensitive, always sensitive, never extractable, local", at), std::string::npos);
}

TEST_F(Pkcs11KeyVaultTest, PublicKeysOfOthersCountForNothing) {
  // Anybody who reaches a token may put a public key on it. Wraps must open under the private key all the same.
  const Bytes before = value_of(vault_->wrap("pair", pair_, bytes_of("content")));
  token_->tool({"--keypairgen", "--key-type", "rsa:2048", "--label", "foreign", "--id", "77"});
  token_->tool(
      {"--read-object", "--type", "pubkey", "--label", "foreign", "--output-file", token_->path("foreign.der")});
  token_->tool({"--write-object", token_->path("foreign.der"), "--type", "pubkey", "--label", "pair", "--id", pair_});
  const Bytes wrapped = value_of(vault_->wrap("pair", pair_, bytes_of("content")));
  const std::string algorithm = value_of(vault_->wrap_algorithm("pair", pair_));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("pair", pair_, algorithm, wrapped))), "content");
  EXPECT_EQ(version_ids(*vault_, "pair"), std::vector<std::string>{pair_});
}

#ifndef __SANITIZE_THREAD__  // its runtime does not follow a fork of a process with threads
// A child has no key memory, so all it can do is to start a program or to end; that must not end what the parent has.
TEST_F(Pkcs11KeyVaultTest, GoesOnInTheParentAfterAFork) {
  const Bytes wrapped = value_of(vault_->wrap("pair", pair_, bytes_of("content")));
  const std::string algorithm = value_of(vault_->wrap_algorithm("pair", pair_));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(0);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(text_of(value_of(vault_->unwrap("pair", pair_, algorithm, wrapped))), "content");
}
#endif

constexpr const char* kPinFileOfChild = "VAULTFS_TEST_PIN_FILE";
constexpr int kEndOfChild = 7;

// Run by the next test alone, in a process of its own; a module's handlers at exit meet a session that is still open.
TEST(Pkcs11ChildProcess, DISABLED_EndsWithAnOpenKeyVault) {
  const char* const pin_file = std::getenv(kPinFileOfChild);  // NOLINT(concurrency-mt-unsafe): no thread sets any
  ASSERT_NE(pin_file, nullptr);
  static AdministeredKeyVault* left_open = nullptr;
  const ProviderOptions options{{"module", kSoftHsmModule}, {"token", "t1"}, {"pin-file", pin_file}};
  const std::filesystem::path state = std::filesystem::path(pin_file).parent_path() / "state";
  left_open = value_of(open_pkcs11_key_vault({posix_env(), state, "hsm", options, {}})).release();
  ASSERT_TRUE(left_open->wrap_algorithm("pair", value_of(left_open->list_versions("pair"))[0].id).ok());
  std::exit(kEndOfChild);  // NOLINT(concurrency-mt-unsafe): with exit handlers
}

// No fork: a child of a process with threads can't reach what those threads had, which its own leak check then reports.
TEST_F(Pkcs11KeyVaultTest, ProcessEndsWellWithAnOpenKeyVault) {
  ::setenv(kPinFileOfChild, token_->path("pin").c_str(), 1);  // NOLINT(concurrency-mt-unsafe): nobody reads it here
  std::string self = "/proc/self/exe";
  std::string filter = "--gtest_filter=Pkcs11ChildProcess.*";
  std::string disabled = "--gtest_also_run_disabled_tests";
  std::array<char*, 4> arguments{self.data(), filter.data(), disabled.data(), nullptr};
  pid_t child = 0;
  ASSERT_EQ(::posix_spawn(&child, self.c_str(), nullptr, nullptr, arguments.data(), environ), 0);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), kEndOfChild);
}

TEST_F(Pkcs11KeyVaultTest, TwoTokensOfOneLabelWantASerial) {
  token_->add_token("double");
  token_->add_token("double");
  ProviderOptions options = token_->options();
  vault_.reset();  // tokens are looked for when the module starts
  options["token"] = "double";
  EXPECT_TRUE(fails(token_->open(options)->list_keys(), ErrorCode::InvalidArgument, "serial"));
  options["token"] = "nosuch";
  EXPECT_TRUE(fails(token_->open(options)->list_keys(), ErrorCode::KeyVaultUnavailable, "\"nosuch\""));

  const std::string slots = token_->list_slots();
  const std::size_t at = slots.find("double");
  const std::size_t serial = slots.find("serial num", at);
  ASSERT_NE(serial, std::string::npos);
  const std::size_t begin = slots.find_first_not_of(" :", serial + 10);
  options.erase("token");
  options["uri"] = "pkcs11:token=double;serial=" + slots.substr(begin, slots.find('\n', begin) - begin);
  EXPECT_TRUE(value_of(token_->open(options)->list_keys()).empty());
}

TEST_F(Pkcs11KeyVaultTest, OpeningIsLazyAndABrokenModuleAnOutage) {
  ProviderOptions options = token_->options("/nosuch/module.so");
  EXPECT_TRUE(fails(token_->open(options)->list_keys(), ErrorCode::KeyVaultUnavailable, "/nosuch/module.so"));
  options["module"] = "/lib/x86_64-linux-gnu/libz.so.1";
  if (std::filesystem::exists(options["module"])) {
    EXPECT_TRUE(fails(token_->open(options)->list_keys(), ErrorCode::KeyVaultUnavailable, "C_GetFunctionList"));
  }
  options["nosuch"] = "1";
  EXPECT_TRUE(fails(open_pkcs11_key_vault(token_->context(options)), ErrorCode::InvalidArgument, "nosuch"));
  EXPECT_EQ(value_of(vault_->properties()).provider, "pkcs11");
}

}  // namespace
}  // namespace vaultfs
