#include "vaultmeta/vault.h"

#include <unistd.h>

#include <random>

#include "crypto/hash.h"
#include "tests/vaultmeta/vault_world.h"
#include "vaultmeta/recovery_file.h"
#include "vaultmeta/vault_layout.h"

namespace vaultfs {
namespace {

using Texts = std::vector<std::string>;

ErrorCode code_of(const Status& status) { return status.ok() ? ErrorCode::Internal : status.code(); }

bool mentions(const std::vector<std::string>& lines, const std::string& what) {
  for (const std::string& line : lines) {
    if (line.find(what) != std::string::npos) return true;
  }
  return false;
}

TEST(VaultCreate, MakesAVaultThatOpens) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  EXPECT_EQ(world.vault->header().id, created->id);
  EXPECT_EQ(world.vault->header().root_fingerprint, created->root_fingerprint);
  EXPECT_FALSE(world.vault->read_only());
  EXPECT_TRUE(world.vault->opening_notes().empty());
  const auto activity = world.vault->activity().entries();
  ASSERT_OK(activity);
  ASSERT_EQ(activity->size(), 1U);
  EXPECT_EQ(activity->front().operation, "vault.create");
  const auto registrations = world.machine_state->registrations();
  ASSERT_OK(registrations);
  ASSERT_EQ(registrations->size(), 1U);
  EXPECT_EQ(registrations->front().path, "/vault");
  ASSERT_OK(world.close());
}

TEST(VaultCreate, RegistersTheKeyOfACustomerManagedVault) {
  VaultWorld world;
  world.kv->add_version("kek");
  VaultCreateOptions options = VaultWorld::create_options();
  options.no_recovery = false;  // nothing of this vault is bound to the machine
  options.key = KeyRef{"kv", "kek", std::nullopt};
  ASSERT_OK(world.create(options));
  const auto registrations = world.machine_state->registrations();
  ASSERT_OK(registrations);
  EXPECT_EQ(registrations->front().key_vault, "kv");
  EXPECT_EQ(registrations->front().key, "kek");
  ASSERT_OK(world.open());
  ASSERT_OK(world.close());
}

// So that nobody takes the key away from the vault while it is made.
TEST(VaultCreate, IsOnTheMachinesListBeforeItsKeyIsProven) {
  VaultWorld world;
  const std::string version = world.kv->add_version("kek");
  VaultCreateOptions options = VaultWorld::create_options();
  options.no_recovery = false;
  options.key = KeyRef{"kv", "kek", std::nullopt};
  int calls = 0;
  world.kv->on_call = [&] {
    ++calls;
    const auto known = world.machine_state->registrations();
    ASSERT_OK(known);
    ASSERT_EQ(known->size(), 1U);
    EXPECT_EQ(known->front().key, "kek");
    EXPECT_FALSE(known->front().needed.has_value()) << "any version may be among them";
  };
  ASSERT_OK(world.create(options));
  EXPECT_GT(calls, 0);
  world.kv->on_call = nullptr;
  const auto known = world.machine_state->registrations();
  ASSERT_OK(known);
  EXPECT_EQ(known->front().needed, (std::vector<RegisteredKey>{{"kv", "kek", version}}));
  EXPECT_EQ(known->front().identity, "system");
  VaultWorld failing;
  failing.kv->add_version("kek");
  failing.kv->unwrap_other = true;
  EXPECT_FALSE(failing.create(options).ok());
  EXPECT_TRUE(failing.machine_state->registrations()->empty()) << "a failed creation leaves nothing";
}

TEST(VaultCreate, RefusesARegionThatItCouldNotReadBack) {
  VaultWorld world;
  VaultCreateOptions options = VaultWorld::create_options();
  for (const std::string& region : {std::string(65, 'r'), std::string("eu\n"), std::string("\x7f")}) {
    options.region = region;
    EXPECT_EQ(world.create(options).code(), ErrorCode::InvalidArgument);
    EXPECT_FALSE(world.env.exists("/vault"));
  }
  options.region = std::string(64, 'r');
  ASSERT_OK(world.create(options));
  ASSERT_OK(world.open());
  EXPECT_EQ(world.vault->header().region, options.region);
  ASSERT_OK(world.close());
}

// A vault that was moved, or that this machine forgot, is on its list again once its owner opens it.
TEST(VaultOpen, TheOwnerPutsTheVaultOnTheMachinesList) {
  VaultWorld world;
  const std::string version = world.kv->add_version("kek");
  VaultCreateOptions options = VaultWorld::create_options();
  options.no_recovery = false;
  options.key = KeyRef{"kv", "kek", std::nullopt};
  ASSERT_OK(world.create(options));
  const Registration created = world.machine_state->registrations()->front();
  Registration elsewhere = created;
  elsewhere.path = "/where/it/was";
  ASSERT_OK(world.machine_state->register_vault(elsewhere));
  ASSERT_OK(world.open_read_only());
  EXPECT_EQ(world.machine_state->registrations()->front(), elsewhere) << "a reader changes nothing";
  ASSERT_OK(world.open());
  EXPECT_EQ(world.machine_state->registrations()->front(), created);
  ASSERT_OK(world.close());
  ASSERT_OK(world.machine_state->forget_vault(created.vault));
  ASSERT_OK(world.open());
  ASSERT_EQ(world.machine_state->registrations()->size(), 1U);
  EXPECT_EQ(world.machine_state->registrations()->front(), created);
  ASSERT_OK(world.close());
}

TEST(VaultCreate, RefusesWhatIsNotEmptyOrNotSaid) {
  VaultWorld world;
  world.env.write("/full/x", {});
  VaultCreateOptions options = VaultWorld::create_options();
  options.path = "/full";
  EXPECT_EQ(world.create(options).code(), ErrorCode::VaultExists);
  options.path = "/full/x";
  EXPECT_EQ(world.create(options).code(), ErrorCode::VaultExists);
  EXPECT_TRUE(world.env.exists("/full/x"));
  options = VaultWorld::create_options();
  options.no_recovery = false;
  EXPECT_EQ(world.create(options).code(), ErrorCode::RecoveryChoiceRequired);
  options.recovery_file = "/recovery";
  EXPECT_EQ(world.create(options).code(), ErrorCode::PassphraseRequired);
  EXPECT_FALSE(world.env.exists("/vault"));
}

TEST(VaultCreate, WritesTheKeysThatAreBoundToTheMachineToARecoveryFile) {
  VaultWorld world;
  auto passphrase = SecretBuffer::copy_of(bytes_of("correct horse"));
  ASSERT_OK(passphrase);
  VaultCreateOptions options = VaultWorld::create_options();
  options.no_recovery = false;
  options.infrastructure_encryption = true;
  options.recovery_file = "/recovery";
  options.recovery_passphrase = &*passphrase;
  const auto created = world.create(options);
  ASSERT_OK(created);
  const auto keys = read_recovery_file(world.env, "/recovery", *passphrase);
  ASSERT_OK(keys);
  EXPECT_EQ(keys->vault, created->id);
  EXPECT_EQ(keys->platform_keys.size(), 2U);
  // A recovery file is never replaced, and a creation that fails late leaves nothing.
  VaultCreateOptions again = options;
  again.path = "/other";
  const auto before = world.files("/home");
  const Bytes recovery = world.env.read("/recovery");
  EXPECT_EQ(world.create(again).code(), ErrorCode::AlreadyExists);
  EXPECT_EQ(world.env.read("/recovery"), recovery);
  EXPECT_FALSE(world.env.exists("/other"));
  EXPECT_EQ(world.files("/home"), before);
  // The second layer is really there: without its key nothing opens.
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  EXPECT_EQ(world.points(), Texts{"vm1=a"});
  ASSERT_OK(world.close());
}

TEST(VaultCreate, AFailureAtAnyStepLeavesNothing) {
  VaultWorld world;
  const SimEnv::Snapshot empty = world.env.snapshot();
  std::uint64_t failures = 0;
  for (std::uint64_t writes = 1; writes < 100; ++writes) {
    world.env.restore(empty);
    world.start_machine("/home");
    // One write or sync fails, the ones after it work: the taking back has a working disk.
    std::uint64_t seen = 0;
    world.env.set_observer([&](SimStep kind, const Env::Path&) {
      if (kind == SimStep::write && ++seen == writes) world.env.fail_next_write(1, ErrorCode::NoSpace);
    });
    const auto created = world.create();
    world.env.set_observer(nullptr);
    if (seen < writes) break;
    if (created.ok()) continue;  // a hint in the lock file is not worth a failure
    ++failures;
    EXPECT_FALSE(world.env.exists("/vault")) << writes;
    EXPECT_TRUE(world.machine_state->registrations()->empty()) << writes;
    for (const Env::Path& path : world.env.files("/home")) {
      const std::string extension = path.extension().string();
      EXPECT_TRUE(extension != ".key" && extension != ".pin" && extension != ".json") << path;
    }
  }
  EXPECT_GE(failures, 6U);
}

TEST(VaultCreate, TakesNothingBackThatAnotherCreationHasMade) {
  VaultWorld world;
  std::optional<bool> other;
  // Between the look at the directory and its lock, the other one does all of its work.
  world.env.set_observer([&](SimStep kind, const Env::Path& path) {
    if (kind != SimStep::sync_directory || path != "/" || !world.env.exists("/vault") || other.has_value()) return;
    other = false;
    other = world.create().ok();
  });
  const auto refused = world.create();
  world.env.set_observer(nullptr);
  ASSERT_EQ(other, true);
  EXPECT_EQ(refused.code(), ErrorCode::VaultExists);
  ASSERT_OK(world.open());
  ASSERT_OK(world.close());
  // One that is still at work keeps what it has made so far.
  world.env.make_directories("/second");
  const auto busy = world.env.lock("/second/vault.lock");
  ASSERT_OK(busy);
  VaultCreateOptions options = VaultWorld::create_options();
  options.path = "/second";
  EXPECT_FALSE(world.create(options).ok());
  EXPECT_TRUE(world.env.exists("/second/vault.lock"));
}

TEST(Vault, KeepsPointsJobsAndTreeOverOpenings) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "first"));
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  EXPECT_TRUE(world.vault->opening_notes().empty()) << world.vault->opening_notes().front();
  ASSERT_OK(world.write("x"));
  const auto second = world.back_up("vm1", "second");
  ASSERT_OK(second);
  EXPECT_EQ(second->number, PointNumber(2));
  ASSERT_OK(world.close());
  ASSERT_OK(world.open_read_only());
  EXPECT_EQ(world.points(), (Texts{"vm1=first", "vm1=second"}));
  EXPECT_EQ(world.tree.texts, (Texts{"vm1=first", "x", "vm1=second"}));
  const auto jobs = world.vault->catalogue().jobs();
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_EQ(jobs[1].state, JobState::completed);
  EXPECT_EQ(jobs[1].point, PointNumber(2));
  // A checkpoint leaves one of its kind, and no journal older than it needs.
  EXPECT_EQ(world.env.files("/vault/checkpoints").size(), 1U);
  EXPECT_LE(world.env.files("/vault/journal").size(), 2U);
}

TEST(Vault, ClosesAndReopensWithoutACheckpoint) {
  VaultWorld world;
  ASSERT_OK(world.create());
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK(world.open());
    ASSERT_OK(world.write("t" + std::to_string(i)));
    ASSERT_OK(world.vault->close());
  }
  ASSERT_OK(world.open());
  EXPECT_EQ(world.tree.texts, (Texts{"t0", "t1", "t2"}));
}

TEST(Vault, HasOneOwner) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ListTree other;
  VaultOpenOptions options;
  options.path = "/vault";
  const auto second = Vault::open(world.machine(), options, other);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.code(), ErrorCode::VaultBusy);
  EXPECT_NE(second.error().message.find("process " + std::to_string(::getpid())), std::string::npos);
}

TEST(Vault, ReadOnlyOpeningWritesNothing) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "first"));
  ASSERT_OK(world.write("later"));
  ASSERT_OK(world.vault->journal().commit());
  world.env.write("/vault/points/00000000000000aa.point.tmp", bytes_of("x"));
  const auto before = world.files("/");
  // Beside the owner, who has a journal, an open segment and the lock.
  ListTree reader;
  VaultOpenOptions options;
  options.path = "/vault";
  options.read_only = true;
  auto second = Vault::open(world.machine(), options, reader);
  ASSERT_OK(second);
  EXPECT_EQ(reader.texts, (Texts{"vm1=first", "later"}));
  EXPECT_EQ((*second)->catalogue().points().size(), 1U);
  EXPECT_EQ((*second)->begin_job(JobKind::backup, "vm1").code(), ErrorCode::ReadOnly);
  EXPECT_EQ((*second)->write_head().code(), ErrorCode::ReadOnly);
  EXPECT_EQ((*second)->log_catalogue({}).code(), ErrorCode::ReadOnly);
  second->reset();
  EXPECT_EQ(world.files("/"), before);
}

TEST(Vault, UnfinishedJobsBecomeInterruptedAndMarkTheirItem) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const auto job = world.vault->begin_job(JobKind::backup, "vm1");
  ASSERT_OK(job);
  world.env.kill_process();
  ASSERT_OK(world.open());
  EXPECT_EQ(world.vault->catalogue().job(job->number)->state, JobState::interrupted);
  EXPECT_TRUE(world.vault->catalogue().item("vm1")->interrupted);
  const auto automatic = world.back_up("vm1", "a", true);
  ASSERT_OK(automatic);
  EXPECT_TRUE(automatic->after_interruption);
  const auto wanted = world.back_up("vm1", "b");
  ASSERT_OK(wanted);
  EXPECT_FALSE(wanted->after_interruption);
  EXPECT_FALSE(world.vault->catalogue().item("vm1")->interrupted);
  const auto clean = world.back_up("vm1", "c", true);
  ASSERT_OK(clean);
  EXPECT_FALSE(clean->after_interruption);
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  EXPECT_FALSE(world.vault->catalogue().item("vm1")->interrupted);
  EXPECT_EQ(world.points(), (Texts{"vm1=a", "vm1=b", "vm1=c"}));
  const auto entries = world.vault->activity().entries();
  ASSERT_OK(entries);
  Texts operations;
  for (const ActivityEntry& entry : *entries) operations.push_back(entry.operation);
  EXPECT_EQ(operations,
            (Texts{"vault.create", "backup.begin", "backup.interrupted", "vault.open", "backup.begin",
                   "backup.complete", "backup.begin", "backup.complete", "backup.begin", "backup.complete"}));
}

TEST(Vault, FinishJobWithoutAPoint) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const auto point = world.back_up("vm1", "a", true);
  ASSERT_OK(point);
  auto job = world.vault->begin_job(JobKind::backup, "vm1");
  ASSERT_OK(job);
  EXPECT_EQ(code_of(world.vault->finish_job(*job, std::nullopt)), ErrorCode::InvalidArgument);
  job->state = JobState::completed_no_change;
  EXPECT_EQ(code_of(world.vault->finish_job(*job, PointNumber(77))), ErrorCode::RecoveryPointNotFound);
  EXPECT_EQ(world.vault->catalogue().job(job->number)->state, JobState::in_progress);
  ASSERT_OK(world.vault->finish_job(*job, point->number));
  auto failed = world.vault->begin_job(JobKind::backup, "vm1");
  ASSERT_OK(failed);
  failed->state = JobState::failed;
  failed->detail = "IoError";
  ASSERT_OK(world.vault->finish_job(*failed, std::nullopt));
  EXPECT_TRUE(world.vault->catalogue().item("vm1")->interrupted);
  world.env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_OK(world.open());
  EXPECT_FALSE(world.vault->catalogue().find_point("vm1", "")->automatic);
  EXPECT_EQ(world.vault->catalogue().job(job->number)->state, JobState::completed_no_change);
  EXPECT_EQ(world.vault->catalogue().job(failed->number)->detail, "IoError");
  EXPECT_TRUE(world.vault->catalogue().item("vm1")->interrupted);
}

TEST(Vault, APointIsRefusedIfItNamesWhatIsNotThere) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const auto job = world.vault->begin_job(JobKind::backup, "vm1");
  ASSERT_OK(job);
  auto manifest = world.store("a");
  ASSERT_OK(manifest);
  PointInfo point;
  point.item = "vm1";
  Manifest lost = *manifest;
  lost.inodes[1].chunks[0].mutable_view()[0] ^= std::byte{1};
  EXPECT_EQ(code_of(world.vault->publish_point(lost, point, *job)), ErrorCode::ChunkMissing);
  Manifest broken = *manifest;
  broken.inodes[0].entries.pop_back();
  EXPECT_EQ(code_of(world.vault->publish_point(broken, point, *job)), ErrorCode::DamagedManifest);
  point.item = "vm2";
  EXPECT_EQ(code_of(world.vault->publish_point(*manifest, point, *job)), ErrorCode::ItemNotFound);
  EXPECT_TRUE(world.vault->catalogue().points().empty());
}

TEST(Vault, TheInventoryNamesTheSegmentsAndTheirLengths) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  ASSERT_OK(world.back_up("vm2", "b"));
  const auto point = world.back_up("vm1", "a");  // everything is there already
  ASSERT_OK(point);
  const auto manifest = world.vault->load_manifest(*point);
  ASSERT_OK(manifest);
  ASSERT_EQ(manifest->inventory.size(), 1U);
  EXPECT_EQ(manifest->inventory[0].number, ContainerNumber(1));
  EXPECT_EQ(manifest->inventory[0].file_bytes, world.env.read("/vault/segments/0000000000000001.seg").size());
}

TEST(Vault, KeepsAThousandHeadsAndOpensFromAnyPinAmongThem) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  for (int i = 0; i < 1040; ++i) ASSERT_OK(world.vault->write_head());
  EXPECT_EQ(world.env.files("/vault/heads").size(), 1024U);
  // The pin of a machine that was restored from a backup taken a thousand heads ago.
  const auto home = world.files("/home");
  for (int i = 0; i < 1000; ++i) ASSERT_OK(world.vault->write_head());
  world.close_without_a_word();
  world.put_back(home, "/home");
  ASSERT_OK(world.open());
}

TEST(Vault, AFullDiskRefusesThePointAndTheVaultGoesOnAfterwards) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  world.env.set_free_bytes(3000);
  std::string incompressible(200'000, ' ');
  std::mt19937 random(3);
  for (char& c : incompressible) c = static_cast<char>(random());
  EXPECT_EQ(world.back_up("vm1", incompressible).code(), ErrorCode::NoSpace);
  world.env.set_unlimited_space();
  world.close_without_a_word();
  ASSERT_OK(world.open());
  EXPECT_EQ(world.points(), Texts{"vm1=a"});
  ASSERT_OK(world.back_up("vm1", "c"));
  EXPECT_EQ(world.points(), (Texts{"vm1=a", "vm1=c"}));
}

TEST(VaultTrust, AMachineWithoutThePinReadsOnlyWhenAskedTo) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  ASSERT_OK(world.close());
  // Another machine that has the platform key (from a recovery file), but no pin.
  for (const Env::Path& path : world.env.files("/home/platform-keys")) {
    world.env.copy(path, Env::Path("/home2/platform-keys") / path.filename());
  }
  world.start_machine("/home2");
  EXPECT_EQ(code_of(world.open()), ErrorCode::VaultUnverified);
  EXPECT_EQ(code_of(world.open_read_only()), ErrorCode::VaultUnverified);
  ASSERT_OK(world.open_read_only(false, true));
  EXPECT_TRUE(mentions(world.vault->opening_notes(), "unverified"));
  EXPECT_EQ(world.points(), Texts{"vm1=a"});
  world.close_without_a_word();
  Digest wrong = created->root_fingerprint;
  wrong.mutable_view()[5] ^= std::byte{1};
  EXPECT_EQ(trust_vault(world.machine(), "/vault", wrong, false).code(), ErrorCode::FingerprintMismatch);
  const auto pin = trust_vault(world.machine(), "/vault", created->root_fingerprint, false);
  ASSERT_OK(pin);
  ASSERT_OK(world.open());
  EXPECT_EQ(world.points(), Texts{"vm1=a"});
  EXPECT_EQ(world.tree.texts, Texts{"vm1=a"});
  const auto entries = world.vault->activity().entries();
  ASSERT_OK(entries);
  EXPECT_EQ(entries->back().operation, "vault.trust");
  EXPECT_EQ(world.machine_state->registrations()->size(), 1U);
}

TEST(VaultTrust, AnotherVaultInItsPlaceIsForeign) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  const Bytes good = world.env.read("/vault/vault.header");
  VaultHeader header = *VaultHeader::decode(good);
  header.root_fingerprint.mutable_view()[0] ^= std::byte{1};
  world.env.write("/vault/vault.header", header.encode());
  EXPECT_EQ(code_of(world.open()), ErrorCode::ForeignRootKey);
  EXPECT_EQ(code_of(world.open_read_only(true)), ErrorCode::ForeignRootKey);
}

TEST(VaultOpen, SaysWhatIsNoVault) {
  VaultWorld world;
  EXPECT_EQ(code_of(world.open()), ErrorCode::VaultNotFound);
  world.env.make_directories("/vault");
  EXPECT_EQ(code_of(world.open()), ErrorCode::NotAVault);
  world.env.write("/vault/vault.header", bytes_of("something else altogether, and long enough to be a header"));
  EXPECT_EQ(code_of(world.open()), ErrorCode::NotAVault);
}

class Rollback : public testing::Test {
 protected:
  // Two states of the vault: after the first and after the second backup, both cleanly closed.
  Rollback() {
    auto created = world_.create();
    if (!created.ok() || !world_.open().ok() || !world_.back_up("vm1", "old").ok() || !world_.close().ok())
      std::abort();
    fingerprint_ = created->root_fingerprint;
    older_ = world_.files();
    if (!world_.open().ok() || !world_.back_up("vm1", "new").ok() || !world_.vault->custody().rewrap(false).ok())
      std::abort();
    if (!world_.close().ok()) std::abort();
    newest_ = world_.files();
  }

  VaultWorld world_;
  Digest fingerprint_;
  VaultWorld::Files older_;
  VaultWorld::Files newest_;
};

TEST_F(Rollback, OfTheWholeVaultIsFound) {
  world_.put_back(older_);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::RollbackDetected);
  EXPECT_EQ(code_of(world_.open_read_only()), ErrorCode::RollbackDetected);
  // Read-only it can be looked at, without moving the pin.
  const auto pins = world_.files("/home/pins");
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_EQ(world_.points(), Texts{"vm1=old"});
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "older state"));
  world_.close_without_a_word();
  EXPECT_EQ(world_.files("/home/pins"), pins);
}

TEST_F(Rollback, OfSingleFoldersIsFound) {
  for (const char* folder : {"/vault/heads", "/vault/keyrings", "/vault/checkpoints", "/vault/journal"}) {
    world_.put_back(newest_);
    world_.put_back(older_, folder);
    const Status opened = world_.open();
    if (opened.ok()) {
      // The newest checkpoint holds all that the journals held.
      EXPECT_STREQ(folder, "/vault/journal");
      EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=new"}));
      EXPECT_EQ(world_.tree.texts, (Texts{"vm1=old", "vm1=new"}));
    } else {
      EXPECT_TRUE(is_integrity_error(opened.code())) << folder << " " << error_name(opened.code());
    }
  }
  world_.put_back(newest_);
  world_.put_back(older_, "/vault/points");
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=ManifestMissing"}));
  world_.put_back(newest_);
  world_.put_back(older_, "/vault/activity");
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.vault->activity().entries().code(), ErrorCode::DamagedActivityLog);
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=new"}));
}

TEST_F(Rollback, OfAJournalThatNoCheckpointHoldsIsFound) {
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.write("t1"));
  ASSERT_OK(world_.vault->journal().commit());
  const auto shorter = world_.files();
  ASSERT_OK(world_.back_up("vm1", "third"));
  ASSERT_OK(world_.vault->close());
  world_.put_back(shorter, "/vault/journal");
  EXPECT_EQ(code_of(world_.open()), ErrorCode::JournalDamaged);
  for (const Env::Path& path : world_.env.files("/vault/journal")) world_.env.remove(path);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::JournalDamaged);
}

TEST_F(Rollback, AManifestOfAnotherPointIsFound) {
  world_.env.copy("/vault/points/0000000000000001.point", "/vault/points/0000000000000002.point");
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=DamagedManifest"}));
}

TEST_F(Rollback, AnOlderCopyAcceptedByNameStartsANewIncarnation) {
  world_.put_back(older_);
  EXPECT_EQ(trust_vault(world_.machine(), "/vault", fingerprint_, false).code(), ErrorCode::RollbackDetected);
  const auto pin = trust_vault(world_.machine(), "/vault", fingerprint_, true);
  ASSERT_OK(pin);
  EXPECT_EQ(pin->incarnation, 2U);
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.points(), Texts{"vm1=old"});
  EXPECT_EQ(world_.tree.texts, Texts{"vm1=old"});
  ASSERT_OK(world_.back_up("vm1", "other"));
  ASSERT_OK(world_.close());
  // The future that was given up is no continuation any more.
  world_.put_back(newest_);
  const Status opened = world_.open();
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.code(), ErrorCode::RollbackDetected);
}

TEST_F(Rollback, AFailedAcceptanceKeepsThePin) {
  world_.put_back(older_);
  const auto pins = world_.files("/home/pins");
  {
    const auto busy = world_.env.lock("/vault/vault.lock");
    ASSERT_OK(busy);
    EXPECT_EQ(trust_vault(world_.machine(), "/vault", fingerprint_, true).code(), ErrorCode::VaultBusy);
  }
  EXPECT_EQ(world_.files("/home/pins"), pins);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::RollbackDetected);
  ASSERT_OK(trust_vault(world_.machine(), "/vault", fingerprint_, true));
  ASSERT_OK(world_.open());
}

TEST_F(Rollback, ADamagedHeadIsNamedAsSuch) {
  const auto heads = world_.env.files("/vault/heads");
  world_.env.flip_bit(heads.back(), 300);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::DamagedHead);
  world_.put_back(newest_);
  constexpr std::uint64_t kVersionBit = 70;  // damage that looks like a newer format
  world_.env.flip_bit(heads.back(), kVersionBit);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::DamagedHead);
  for (const std::uint64_t bit : {std::uint64_t{300}, kVersionBit}) {
    world_.put_back(newest_);
    world_.env.flip_bit(heads.front(), bit);  // the history gets shorter, nothing else
    ASSERT_OK(world_.open());
    EXPECT_TRUE(mentions(world_.vault->opening_notes(), "older head is damaged"));
    world_.close_without_a_word();
  }
}

TEST_F(Rollback, ACopyThatLacksItsNewestPartsOpensReadOnlyAtItsNewestCompletePoint) {
  for (const Env::Path& path : world_.env.files("/vault/checkpoints")) world_.env.remove(path);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::CheckpointMissing);
  EXPECT_EQ(code_of(world_.open_read_only()), ErrorCode::CheckpointMissing);
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=new"}));
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "checkpoint"));
  // And without the newest segment the newest point is left out and named.
  world_.env.remove("/vault/segments/0000000000000002.seg");
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_EQ(world_.points(), Texts{"vm1=old"});
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "0000000000000002.seg is missing"));
}

TEST(Vault, APinOlderThanTheHeadsThatAreKeptIsNoRollbackAndTrustMovesIt) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  const auto home = world.files("/home");
  const auto old_vault = world.files();
  for (int i = 0; i < 1030; ++i) ASSERT_OK(world.vault->write_head());
  ASSERT_OK(world.back_up("vm1", "b"));
  world.close_without_a_word();
  const auto newest_home = world.files("/home");
  world.put_back(home, "/home");
  const Status outdated = world.open();
  ASSERT_EQ(outdated.code(), ErrorCode::PinOutdated);
  EXPECT_NE(outdated.error().message.find("vault trust VAULT --fingerprint"), std::string::npos);
  EXPECT_EQ(world.open_read_only().code(), ErrorCode::PinOutdated);
  EXPECT_EQ(trust_vault(world.machine(), "/vault", Digest{}, false).code(), ErrorCode::FingerprintMismatch);
  EXPECT_EQ(world.open().code(), ErrorCode::PinOutdated);
  ASSERT_OK(trust_vault(world.machine(), "/vault", created->root_fingerprint, false));
  ASSERT_OK(world.open());
  EXPECT_EQ(world.points(), (std::vector<std::string>{"vm1=a", "vm1=b"}));
  EXPECT_EQ(world.vault->custody().incarnation(), 1U) << "a plain trust starts none";
  world.close_without_a_word();
  // What really is older stays a rollback, and a plain trust does not help.
  world.put_back(newest_home, "/home");
  world.put_back(old_vault);
  EXPECT_EQ(world.open().code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(trust_vault(world.machine(), "/vault", created->root_fingerprint, false).code(),
            ErrorCode::RollbackDetected);
}

TEST(Vault, HeadsThatWereTakenAwayInTheMidstAreARollback) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  const auto home = world.files("/home");
  for (int i = 0; i < 9; ++i) ASSERT_OK(world.vault->write_head());
  world.close_without_a_word();
  world.put_back(home, "/home");
  world.env.remove("/vault/heads/0000000000000005.head");
  EXPECT_EQ(world.open().code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(trust_vault(world.machine(), "/vault", created->root_fingerprint, false).code(),
            ErrorCode::RollbackDetected);
}

}  // namespace
}  // namespace vaultfs
