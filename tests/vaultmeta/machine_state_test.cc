#include "vaultmeta/machine_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/scratch_directory.h"
#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MachineStateTest : public ::testing::Test {
 protected:
  MachineStateTest() { reopen(); }
  void reopen() {
    auto opened = MachineState::open(env, "/var/home");
    ASSERT_TRUE(opened.ok());
    state = std::move(opened).value();
  }
  static Pin pin(std::uint64_t generation, std::uint64_t incarnation = 1, int digest = 1) {
    Pin made;
    made.vault.data()[0] = std::byte{0xab};
    made.root_fingerprint.data()[0] = std::byte{2};
    made.head_generation = Generation(generation);
    made.head_digest.data()[0] = static_cast<std::byte>(digest);
    made.incarnation = incarnation;
    return made;
  }
  SimEnv env;
  std::unique_ptr<MachineState> state;
};

TEST_F(MachineStateTest, RemembersPins) {
  EXPECT_EQ(state->pin(pin(1).vault).value(), std::nullopt);
  ASSERT_TRUE(state->set_pin(pin(3)).ok());
  EXPECT_EQ(state->pin(pin(3).vault).value(), pin(3));
  reopen();
  EXPECT_EQ(state->pin(pin(3).vault).value(), pin(3));
  ASSERT_TRUE(state->remove_pin(pin(3).vault).ok());
  ASSERT_TRUE(state->remove_pin(pin(3).vault).ok());
  EXPECT_EQ(state->pin(pin(3).vault).value(), std::nullopt);
}

TEST_F(MachineStateTest, APinNeverGoesBack) {
  ASSERT_TRUE(state->set_pin(pin(5, 2)).ok());
  EXPECT_TRUE(state->set_pin(pin(5, 2)).ok());
  EXPECT_EQ(state->set_pin(pin(4, 2)).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(state->set_pin(pin(9, 1)).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(state->set_pin(pin(5, 2, 9)).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(state->pin(pin(5).vault).value(), pin(5, 2));
  EXPECT_TRUE(state->set_pin(pin(3, 3)).ok());  // an older copy was accepted: a new incarnation
  EXPECT_TRUE(state->set_pin(pin(4, 3)).ok());
}

TEST_F(MachineStateTest, ADamagedPinIsNeverNoPin) {
  ASSERT_TRUE(state->set_pin(pin(5)).ok());
  const Env::Path file = env.files("/var/home/pins").front();
  const Bytes good = env.read(file);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    env.flip_bit(file, bit);
    const auto damaged = state->pin(pin(5).vault);
    ASSERT_EQ(damaged.ok() ? ErrorCode::Internal : damaged.code(), ErrorCode::DamagedMachineState) << bit;
    ASSERT_THAT(damaged.error().message, HasSubstr(file.string()));
    env.flip_bit(file, bit);
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{9}, good.size() - 1}) {
    env.write(file, ByteView(good).first(size));
    EXPECT_EQ(state->pin(pin(5).vault).code(), ErrorCode::DamagedMachineState) << size;
    EXPECT_EQ(state->set_pin(pin(6)).code(), ErrorCode::DamagedMachineState) << size;
  }
  Bytes longer = good;
  longer.resize(good.size() + 1);
  env.write(file, longer);
  EXPECT_EQ(state->pin(pin(5).vault).code(), ErrorCode::DamagedMachineState);
  // The pin of another vault under this one's name.
  env.write(file, good);
  VaultId other = pin(5).vault;
  other.data()[0] = std::byte{0xac};
  env.copy(file, file.parent_path() / (to_hex(other.view()) + ".pin"));
  EXPECT_EQ(state->pin(other).code(), ErrorCode::DamagedMachineState);
}

TEST_F(MachineStateTest, APinIsOldOrNewAfterACrash) {
  for (std::uint64_t steps = 0;; ++steps) {
    SimEnv machine(steps + 1);
    auto opened = MachineState::open(machine, "/home");
    ASSERT_TRUE(opened.ok() && (*opened)->set_pin(pin(1)).ok());
    machine.fail_after(steps);
    const bool done = (*opened)->set_pin(pin(2)).ok();
    machine.crash(steps, CrashMode::random);
    auto again = MachineState::open(machine, "/home");
    ASSERT_TRUE(again.ok());
    const auto found = (*again)->pin(pin(1).vault);
    ASSERT_TRUE(found.ok());
    ASSERT_TRUE(*found == pin(2) || (!done && *found == pin(1))) << steps;
    if (done) break;
  }
}

TEST_F(MachineStateTest, KnowsVaults) {
  Registration one{pin(1).vault, "/backup/vault one", "kv", "kek"};
  EXPECT_THAT(state->registrations().value(), IsEmpty());
  ASSERT_TRUE(state->register_vault(one).ok());
  one.key = "other";
  ASSERT_TRUE(state->register_vault(one).ok());
  reopen();
  ASSERT_EQ(state->registrations().value(), std::vector<Registration>{one});
  one.path = "relative";
  EXPECT_EQ(state->register_vault(one).code(), ErrorCode::InvalidArgument);
  one.path = "/not\xff/utf8";
  EXPECT_EQ(state->register_vault(one).code(), ErrorCode::InvalidArgument);
  ASSERT_TRUE(state->forget_vault(one.vault).ok());
  EXPECT_THAT(state->registrations().value(), IsEmpty());
}

TEST_F(MachineStateTest, ADamagedRegistrationIsNamed) {
  ASSERT_TRUE(state->register_vault({pin(1).vault, "/vault", "kv", "kek"}).ok());
  const Env::Path file = env.files("/var/home/vaults").front();
  for (const char* text :
       {"", "{", "[]", "{\"vault\":1}", "{\"vault\":\"00\",\"path\":\"/v\",\"key_vault\":\"\",\"key\":\"\"}"}) {
    env.write(file, bytes_of(text));
    const auto damaged = state->registrations();
    ASSERT_EQ(damaged.ok() ? ErrorCode::Internal : damaged.code(), ErrorCode::DamagedMachineState) << text;
    EXPECT_THAT(damaged.error().message, HasSubstr(file.string()));
  }
}

TEST_F(MachineStateTest, TheAuditLogIsChained) {
  ASSERT_TRUE(state->audit("vault.trust", "first\nline \xff").ok());
  ASSERT_TRUE(state->audit("vault.sealed", "second").ok());
  ASSERT_TRUE(state->audit("vault.healed", "third").ok());
  reopen();
  const auto entries = state->audit_entries();
  ASSERT_TRUE(entries.ok());
  ASSERT_EQ(entries->size(), 3U);
  EXPECT_EQ((*entries)[1].what, "vault.sealed");
  EXPECT_EQ((*entries)[2].detail, "third");
  EXPECT_EQ((*entries)[0].time, env.clock().now());

  const Env::Path file = "/var/home/audit.log";
  const std::string good(text_of(env.read(file)));
  std::string changed = good;
  changed.replace(changed.find("second"), 6, "SECOND");
  env.write(file, bytes_of(changed));
  EXPECT_EQ(state->audit_entries().code(), ErrorCode::DamagedMachineState);
  EXPECT_THAT(state->audit_entries().error().message, HasSubstr("line 2"));
  EXPECT_EQ(state->audit("more", "").code(), ErrorCode::DamagedMachineState);
  env.write(file, bytes_of(good.substr(good.find('\n') + 1)));  // the first line is gone
  EXPECT_EQ(state->audit_entries().code(), ErrorCode::DamagedMachineState);
  // What a crash left of an unfinished line goes with the next entry.
  env.write(file, bytes_of(good + "{\"time\":12"));
  EXPECT_EQ(state->audit_entries()->size(), 3U);
  ASSERT_TRUE(state->audit("vault.forget", "fourth").ok());
  EXPECT_EQ(state->audit_entries()->size(), 4U);
}

// Names that strangers chose may be in there, and people read the log on terminals.
TEST_F(MachineStateTest, TheAuditLogHoldsPrintableAsciiOnly) {
  ASSERT_TRUE(state->audit("key.export", "office/kek to /tmp/\x1b[2Jx\x7f\xc2\x9b\xff\n{\"what\":\"forged\"}").ok());
  const std::string log(text_of(env.read("/var/home/audit.log")));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1);
  for (const char c : log) {
    ASSERT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f)) << static_cast<int>(c);
  }
  const auto entries = state->audit_entries();
  ASSERT_TRUE(entries.ok());
  EXPECT_EQ(entries->front().detail, R"(office/kek to /tmp/\x1b[2Jx\x7f\xc2\x9b\xff\x0a{"what":"forged"})");
  ASSERT_TRUE(state->audit("second", "").ok());
}

TEST_F(MachineStateTest, AHomeWhereAnythingElseIsIsRefused) {
  env.write("/file", bytes_of("x"));
  EXPECT_EQ(MachineState::open(env, "/file").code(), ErrorCode::NotADirectory);
}

TEST_F(MachineStateTest, ARegistrationListsTheVersionsThatAreNeeded) {
  Registration one{pin(1).vault, "/vault", "kv", "kek", {{{"kv", "kek", "v1"}, {"other", "key", "v2"}}}};
  ASSERT_TRUE(state->register_vault(one).ok());
  reopen();
  ASSERT_EQ(state->registrations().value(), std::vector<Registration>{one});
  ASSERT_TRUE(state->change_registration(one.vault, [](Registration& found) { found.needed->pop_back(); }).ok());
  one.needed->pop_back();
  EXPECT_EQ(state->registrations().value(), std::vector<Registration>{one});
  const Env::Path file = env.files("/var/home/vaults").front();
  const std::string good(text_of(env.read(file)));
  for (const char* needed : {"1", "{}", "[1]", "[{\"key_vault\":\"kv\",\"key\":\"kek\"}]"}) {
    const std::size_t begin = good.find("\"needed\":");
    ASSERT_NE(begin, std::string::npos);
    const std::size_t end = good.find(']', begin);
    env.write(file, bytes_of(good.substr(0, begin) + "\"needed\":" + needed + good.substr(end + 1)));
    EXPECT_EQ(state->registrations().code(), ErrorCode::DamagedMachineState) << needed;
  }
  ASSERT_TRUE(state->forget_vault(one.vault).ok());
  ASSERT_TRUE(state->change_registration(one.vault, [](Registration& found) { found.key = "x"; }).ok());
  EXPECT_THAT(state->registrations().value(), IsEmpty()) << "a forgotten vault came back";
}

TEST_F(MachineStateTest, OneRegistrationIsReadWhateverHasBecomeOfTheOthers) {
  Registration one{pin(1).vault, "/vault", "kv", "kek"};
  one.identity.emplace("backup");
  auto other = one;
  other.vault.mutable_view()[0] ^= std::byte{1};
  ASSERT_TRUE(state->register_vault(one).ok());
  ASSERT_TRUE(state->register_vault(other).ok());
  env.write("/var/home/vaults/" + to_hex(other.vault.view()) + ".json", bytes_of("{"));
  EXPECT_EQ(state->registrations().code(), ErrorCode::DamagedMachineState);
  EXPECT_EQ(state->registration(one.vault).value(), one);
  EXPECT_EQ(state->registration(other.vault).code(), ErrorCode::DamagedMachineState);
  ASSERT_TRUE(state->forget_vault(other.vault).ok());
  EXPECT_FALSE(state->registration(other.vault).value().has_value());
  EXPECT_EQ(state->registrations().value(), std::vector<Registration>{one});
}

TEST_F(MachineStateTest, ARegistrationOfAnOlderVaultfsHasNoSuchList) {
  const Registration old{pin(1).vault, "/vault", "kv", "kek"};
  ASSERT_TRUE(state->register_vault(old).ok());
  const Env::Path file = env.files("/var/home/vaults").front();
  env.write(file, bytes_of("{\"vault\":\"" + to_hex(old.vault.view()) +
                           "\",\"path\":\"/vault\",\"key_vault\":\"kv\",\"key\":\"kek\"}\n"));
  ASSERT_EQ(state->registrations().value(), std::vector<Registration>{old});
  EXPECT_FALSE(state->registrations().value().front().needed.has_value());
}

TEST(MachineStateOnDisk, WhatBelongsToOthersIsNotTrusted) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const ScratchDirectory scratch;
  const auto home = scratch / "home";
  auto opened = MachineState::open(posix_env(), home);
  ASSERT_TRUE(opened.ok());
  Pin pin;
  pin.vault.data()[0] = std::byte{1};
  ASSERT_TRUE((*opened)->set_pin(pin).ok());
  const auto file = home / "pins" / (to_hex(pin.vault.view()) + ".pin");
  ASSERT_EQ(::chown(file.c_str(), 65534, 0), 0);
  EXPECT_EQ((*opened)->pin(pin.vault).code(), ErrorCode::PermissionDenied);
  ASSERT_EQ(::chown(file.c_str(), 0, 0), 0);
  std::filesystem::permissions(file, static_cast<std::filesystem::perms>(0620));
  EXPECT_EQ((*opened)->pin(pin.vault).code(), ErrorCode::PermissionDenied);
  std::filesystem::permissions(file, static_cast<std::filesystem::perms>(0600));
  EXPECT_TRUE((*opened)->pin(pin.vault).ok());
  ASSERT_EQ(::chown(home.c_str(), 65534, 0), 0);
  EXPECT_EQ(MachineState::open(posix_env(), home).code(), ErrorCode::PermissionDenied);
}

}  // namespace
}  // namespace vaultfs
