#include "vaultmeta/machine/machine_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/scratch_directory.h"
#include "tests/support/sim_env.h"
#include "vaultmeta/machine/pin_file.h"
#include "vaultmeta/machine/registration_file.h"

namespace vaultfs {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const std::filesystem::path kPlace = "/vault";

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
  EXPECT_EQ(state->pin(pin(1).vault, kPlace).value(), std::nullopt);
  ASSERT_TRUE(state->set_pin(pin(3), kPlace).ok());
  EXPECT_EQ(state->pin(pin(3).vault, kPlace).value(), pin(3));
  reopen();
  EXPECT_EQ(state->pin(pin(3).vault, kPlace).value(), pin(3));
  ASSERT_TRUE(state->remove_pin(pin(3).vault, kPlace).ok());
  ASSERT_TRUE(state->remove_pin(pin(3).vault, kPlace).ok());
  EXPECT_EQ(state->pin(pin(3).vault, kPlace).value(), std::nullopt);
}

TEST_F(MachineStateTest, APinNeverGoesBack) {
  ASSERT_TRUE(state->set_pin(pin(5, 2), kPlace).ok());
  EXPECT_TRUE(state->set_pin(pin(5, 2), kPlace).ok());
  EXPECT_EQ(state->set_pin(pin(4, 2), kPlace).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(state->set_pin(pin(9, 1), kPlace).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(state->set_pin(pin(5, 2, 9), kPlace).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(state->pin(pin(5).vault, kPlace).value(), pin(5, 2));
  EXPECT_TRUE(state->set_pin(pin(3, 3), kPlace).ok());  // an older copy was accepted: a new incarnation
  EXPECT_TRUE(state->set_pin(pin(4, 3), kPlace).ok());
}

TEST_F(MachineStateTest, ADamagedPinIsNeverNoPin) {
  ASSERT_TRUE(state->set_pin(pin(5), kPlace).ok());
  const Env::Path file = env.files("/var/home/pins").front();
  const Bytes good = env.read(file);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    env.flip_bit(file, bit);
    const auto damaged = state->pin(pin(5).vault, kPlace);
    ASSERT_EQ(damaged.ok() ? ErrorCode::Internal : damaged.code(), ErrorCode::DamagedMachineState) << bit;
    ASSERT_THAT(damaged.error().message, HasSubstr(file.string()));
    env.flip_bit(file, bit);
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{9}, good.size() - 1}) {
    env.write(file, ByteView(good).first(size));
    EXPECT_EQ(state->pin(pin(5).vault, kPlace).code(), ErrorCode::DamagedMachineState) << size;
    EXPECT_EQ(state->set_pin(pin(6), kPlace).code(), ErrorCode::DamagedMachineState) << size;
  }
  Bytes longer = good;
  longer.resize(good.size() + 1);
  env.write(file, longer);
  EXPECT_EQ(state->pin(pin(5).vault, kPlace).code(), ErrorCode::DamagedMachineState);
  // The pin of another vault under this one's name.
  env.write(file, good);
  VaultId other = pin(5).vault;
  other.data()[0] = std::byte{0xac};
  env.copy(file, file.parent_path() / state_file_name(other, kPlace, ".pin"));
  EXPECT_EQ(state->pin(other, kPlace).code(), ErrorCode::DamagedMachineState);
}

TEST_F(MachineStateTest, APinIsOldOrNewAfterACrash) {
  for (std::uint64_t steps = 0;; ++steps) {
    SimEnv machine(steps + 1);
    auto opened = MachineState::open(machine, "/home");
    ASSERT_TRUE(opened.ok() && (*opened)->set_pin(pin(1), kPlace).ok());
    machine.fail_after(steps);
    const bool done = (*opened)->set_pin(pin(2), kPlace).ok();
    machine.crash(steps, CrashMode::random);
    auto again = MachineState::open(machine, "/home");
    ASSERT_TRUE(again.ok());
    const auto found = (*again)->pin(pin(1).vault, kPlace);
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

// After a failed sync the kernel shows the line until the next restart, and has lost it.
TEST_F(MachineStateTest, NoLineOfTheAuditLogFollowsOneThatIsLost) {
  ASSERT_TRUE(state->audit("vault.trust", "first").ok());
  env.fail_next_sync(1);
  EXPECT_FALSE(state->audit("vault.sealed", "lost").ok());
  ASSERT_TRUE(state->audit("vault.healed", "second").ok());
  env.crash(1, CrashMode::drop_all_unsynced);
  reopen();
  const auto entries = state->audit_entries();
  ASSERT_TRUE(entries.ok()) << entries.error().message;
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_EQ(entries->back().detail, "second");
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
  ASSERT_TRUE(
      state->change_registration(one.vault, "/vault", [](Registration& found) { found.needed->pop_back(); }).ok());
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
  ASSERT_TRUE(state->change_registration(one.vault, "/vault", [](Registration& found) { found.key = "x"; }).ok());
  EXPECT_THAT(state->registrations().value(), IsEmpty()) << "a forgotten vault came back";
}

TEST_F(MachineStateTest, OneRegistrationIsReadWhateverHasBecomeOfTheOthers) {
  Registration one{pin(1).vault, "/vault", "kv", "kek"};
  one.identity.emplace("backup");
  auto other = one;
  other.vault.mutable_view()[0] ^= std::byte{1};
  ASSERT_TRUE(state->register_vault(one).ok());
  ASSERT_TRUE(state->register_vault(other).ok());
  env.write("/var/home/vaults/" + state_file_name(other.vault, "/vault", ".json"), bytes_of("{"));
  EXPECT_EQ(state->registrations().code(), ErrorCode::DamagedMachineState);
  EXPECT_EQ(state->registration(one.vault, "/vault").value(), one);
  EXPECT_EQ(state->registration(other.vault, "/vault").code(), ErrorCode::DamagedMachineState);
  ASSERT_TRUE(state->forget_vault(other.vault).ok());
  EXPECT_FALSE(state->registration(other.vault, "/vault").value().has_value());
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

TEST_F(MachineStateTest, EachPlaceHasAPinOfItsOwn) {
  ASSERT_TRUE(state->set_pin(pin(5), "/vault").ok());
  EXPECT_EQ(state->pin(pin(5).vault, "/copy").value(), std::nullopt) << "a copy has none yet";
  EXPECT_EQ(state->newest_pin(pin(5).vault).value(), pin(5));
  ASSERT_TRUE(state->set_pin(pin(7, 1, 9), "/copy").ok());
  ASSERT_TRUE(state->set_pin(pin(6), "/vault").ok()) << "the copy went on, the original does so by itself";
  EXPECT_EQ(state->pin(pin(5).vault, "/vault").value(), pin(6));
  EXPECT_EQ(state->pin(pin(5).vault, "/copy").value(), pin(7, 1, 9));
  EXPECT_EQ(state->newest_pin(pin(5).vault).value(), pin(7, 1, 9));
  ASSERT_TRUE(state->remove_pin(pin(5).vault, "/copy").ok());
  EXPECT_EQ(state->newest_pin(pin(5).vault).value(), pin(6));
  VaultId other = pin(5).vault;
  other.data()[0] = std::byte{0xac};
  EXPECT_EQ(state->newest_pin(other).value(), std::nullopt);
}

// As a vaultfs without places has left it.
TEST_F(MachineStateTest, APinWithoutAPlaceIsCarriedOverAtItsFirstUse) {
  const Env::Path old = "/var/home/pins/" + to_hex(pin(5).vault.view()) + ".pin";
  const auto put_old = [&] { env.write(old, encode_pin(pin(5))); };
  put_old();
  for (const char* place : {"/vault", "/other"}) EXPECT_EQ(state->pin(pin(5).vault, place).value(), pin(5));
  EXPECT_EQ(state->set_pin(pin(4), "/vault").code(), ErrorCode::RollbackDetected);
  ASSERT_TRUE(state->set_pin(pin(5), "/vault").ok());
  EXPECT_FALSE(env.exists(old)) << "it is the place's now";
  EXPECT_EQ(state->pin(pin(5).vault, "/vault").value(), pin(5));
  EXPECT_EQ(state->pin(pin(5).vault, "/other").value(), std::nullopt);
  ASSERT_TRUE(state->remove_pin(pin(5).vault, "/vault").ok());

  // Registered at one place, it is that place's: a copy does not take it.
  put_old();
  ASSERT_TRUE(state->register_vault({pin(5).vault, "/vault", "kv", "kek"}).ok());
  EXPECT_EQ(state->pin(pin(5).vault, "/copy").value(), std::nullopt);
  EXPECT_EQ(state->newest_pin(pin(5).vault).value(), pin(5));
  ASSERT_TRUE(state->set_pin(pin(9), "/copy").ok());
  ASSERT_TRUE(state->remove_pin(pin(5).vault, "/copy").ok());
  EXPECT_EQ(state->pin(pin(5).vault, "/vault").value(), pin(5));
  ASSERT_TRUE(state->remove_pin(pin(5).vault, "/vault").ok());
  EXPECT_EQ(state->newest_pin(pin(5).vault).value(), std::nullopt);
}

TEST_F(MachineStateTest, ARegistrationIsOfAVaultAndAPlace) {
  Registration one{pin(1).vault, "/vault", "kv", "kek", std::vector<RegisteredKey>{{"kv", "kek", "v1"}}};
  one.directory = DirectoryId{5, 7};
  Registration copy = one;
  copy.path = "/copy";
  copy.directory = DirectoryId{5, 8};
  Registration other = one;
  other.vault.mutable_view()[0] ^= std::byte{1};
  for (const Registration& each : {one, copy, other}) ASSERT_TRUE(state->register_vault(each).ok());
  reopen();
  EXPECT_EQ(state->registrations()->size(), 3U);
  EXPECT_THAT(state->registrations_of(one.vault).value(), UnorderedElementsAre(one, copy));
  ASSERT_TRUE(state->change_registration(one.vault, "/copy", [](Registration& found) { found.needed->clear(); }).ok());
  EXPECT_EQ(state->registration(one.vault, "/vault").value(), one) << "the copy's needs are its own";
  ASSERT_TRUE(state->set_pin(pin(3), "/copy").ok());
  ASSERT_TRUE(state->move_vault(one.vault, "/copy", "/rehearsal").ok());
  copy.path = "/rehearsal";
  copy.needed->clear();
  EXPECT_THAT(state->registrations_of(one.vault).value(), UnorderedElementsAre(one, copy));
  EXPECT_EQ(state->pin(one.vault, "/copy").value(), std::nullopt);
  EXPECT_EQ(state->pin(one.vault, "/rehearsal").value(), pin(3));
  ASSERT_TRUE(state->set_pin(pin(2), "/vault").ok());
  ASSERT_TRUE(state->forget_vault(one.vault, "/rehearsal").ok());
  EXPECT_EQ(state->registrations_of(one.vault).value(), std::vector<Registration>{one});
  EXPECT_EQ(state->newest_pin(one.vault).value(), pin(2)) << "the pin of a forgotten copy went, too";
  ASSERT_TRUE(state->forget_vault(one.vault, "/vault").ok());
  EXPECT_EQ(state->newest_pin(one.vault).value(), pin(2)) << "the last one stays";
  EXPECT_EQ(state->registrations().value(), std::vector<Registration>{other});
}

TEST_F(MachineStateTest, ARegistrationWithoutAPlaceIsCarriedOverAtItsFirstChange) {
  Registration one{pin(1).vault, "/vault", "kv", "kek", std::vector<RegisteredKey>{}};
  ASSERT_TRUE(state->register_vault(one).ok());
  const Env::Path placed = env.files("/var/home/vaults").front();
  const Env::Path old = "/var/home/vaults/" + to_hex(one.vault.view()) + ".json";
  env.copy(placed, old);
  EXPECT_EQ(state->registrations().value(), std::vector<Registration>{one}) << "both, after a crash";
  env.remove(placed);
  EXPECT_EQ(state->registrations().value(), std::vector<Registration>{one});
  EXPECT_EQ(state->registration(one.vault, "/vault").value(), one);
  EXPECT_FALSE(state->registration(one.vault, "/copy").value().has_value());
  Registration copy = one;
  copy.path = "/copy";
  ASSERT_TRUE(state->register_vault(copy).ok());
  EXPECT_TRUE(env.exists(old)) << "a copy takes nothing from it";
  ASSERT_TRUE(state->change_registration(one.vault, "/vault", [](Registration& found) { found.key = "x"; }).ok());
  EXPECT_FALSE(env.exists(old));
  one.key = "x";
  EXPECT_THAT(state->registrations().value(), UnorderedElementsAre(one, copy));
}

TEST(MachineStateOnDisk, WhatBelongsToOthersIsNotTrusted) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const ScratchDirectory scratch;
  const auto home = scratch / "home";
  auto opened = MachineState::open(posix_env(), home);
  ASSERT_TRUE(opened.ok());
  Pin pin;
  pin.vault.data()[0] = std::byte{1};
  ASSERT_TRUE((*opened)->set_pin(pin, kPlace).ok());
  const auto file = home / "pins" / state_file_name(pin.vault, kPlace, ".pin");
  ASSERT_EQ(::chown(file.c_str(), 65534, 0), 0);
  EXPECT_EQ((*opened)->pin(pin.vault, kPlace).code(), ErrorCode::PermissionDenied);
  ASSERT_EQ(::chown(file.c_str(), 0, 0), 0);
  std::filesystem::permissions(file, static_cast<std::filesystem::perms>(0620));
  EXPECT_EQ((*opened)->pin(pin.vault, kPlace).code(), ErrorCode::PermissionDenied);
  std::filesystem::permissions(file, static_cast<std::filesystem::perms>(0600));
  EXPECT_TRUE((*opened)->pin(pin.vault, kPlace).ok());
  ASSERT_EQ(::chown(home.c_str(), 65534, 0), 0);
  EXPECT_EQ(MachineState::open(posix_env(), home).code(), ErrorCode::PermissionDenied);
}

}  // namespace
}  // namespace vaultfs
