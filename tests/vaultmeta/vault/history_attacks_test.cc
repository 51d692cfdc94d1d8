// Who lost access, who went on from the same state elsewhere, and who only has the storage: none of them changes what
// the owner reads (docs/threat-model.md, docs/decisions/0017-one-chain.md). What they can do is destroy, which is told.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "crypto/hash.h"
#include "store/journal/journal.h"
#include "store/record/container.h"
#include "store/record/stream.h"
#include "tests/support/assert_ok.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/heads/head.h"
#include "vaultmeta/heads/head_files.h"
#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/keys/keyring.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

// What an owner reads of his vault.
struct Truth {
  Texts points;
  Texts tree;
  bool operator==(const Truth&) const = default;
};

class HistoryAttack : public ::testing::Test {
 protected:
  // Three points; the first key version is Retired and epoch 1 closed, the third point is of epoch 2.
  void SetUp() override {
    world_.kv->add_version("kek");
    ASSERT_OK(world_.create(VaultWorld::customer_managed_options()));
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm1", "one"));
    copy_of_epoch_1_ = world_.files();
    world_.kv->add_version("kek");
    ASSERT_OK(world_.vault->custody().refresh());
    ASSERT_OK(world_.back_up("vm1", "two"));
    ASSERT_EQ(world_.vault->custody().status().current_epoch, EpochNumber(2));
    ASSERT_OK(world_.back_up("vm2", "three"));
  }

  // The vault as it stands, and what this machine knows of it.
  void keep() {
    ASSERT_NO_FATAL_FAILURE(learn_keys());
    right_ = {world_.points(), world_.tree.texts};
    world_.close_without_a_word();
    whole_ = world_.files();
    home_ = world_.files("/home");
  }
  void put_all_back() {
    world_.close_without_a_word();
    world_.put_back(whole_);
    world_.put_back(home_, "/home");
  }

  // What R knows for ever: the root key (asked of the vault that is open then), and the DEK of epoch 1.
  void learn_keys() {
    const EpochKeys& keys = world_.vault->keys();
    const auto clone = [](const SecretBuffer& key) { return key.clone(); };
    std::map<EpochNumber, EpochKeys::Epoch> epochs;
    auto dek = keys.with_dek(EpochNumber(1), [&](const EpochKeys::Epoch& epoch) { return epoch.dek.clone(); });
    ASSERT_OK(dek);
    epochs[EpochNumber(1)].dek = std::move(*dek);
    auto id_key = keys.with_id_key(clone);
    ASSERT_OK(id_key);
    old_keys_ = std::make_unique<EpochKeys>(keys.vault(), keys.suite());
    old_keys_->set(std::move(epochs), std::move(*id_key), {});
  }

  // Opened in every way there is: an integrity error, or nothing but what the owner wrote.
  void expect_error_or_no_difference(const std::string& what) {
    const auto files = world_.files();
    for (const bool as_owner : {false, true}) {
      world_.put_back(files);
      world_.put_back(home_, "/home");
      const Status opened = as_owner ? world_.open() : world_.open_for_points();
      if (!opened.ok()) {
        EXPECT_TRUE(is_integrity_error(opened.code())) << what << ": " << error_name(opened.code());
        ++refused_;
        continue;
      }
      // A tree that could not be read is empty, and said to be.
      if (!world_.vault->history_damage().has_value()) {
        EXPECT_EQ(world_.tree.texts, right_.tree) << what;
      }
      const Texts points = world_.points();
      ASSERT_EQ(points.size(), right_.points.size()) << what;
      for (std::size_t i = 0; i < points.size(); ++i) {
        if (points[i] == right_.points[i]) continue;
        const std::string item = right_.points[i].substr(0, right_.points[i].find('=') + 1);
        const bool told = points[i] == item + "DamagedManifest" || points[i] == item + "ManifestMissing" ||
                          points[i] == item + "ChunkMissing" || points[i] == item + "SegmentMissing" ||
                          points[i] == item + "AuthenticationFailed" || points[i] == item + "ChunkMismatch" ||
                          points[i] == item + "DamagedRecord" || points[i] == item + "DamagedHeader" ||
                          points[i] == item + "KeyCommitmentMismatch" || points[i] == item + "EpochClosed";
        EXPECT_TRUE(told) << what << ": " << points[i];
      }
      ++accepted_;
    }
    put_all_back();
  }

  VaultWorld world_;
  VaultWorld::Files copy_of_epoch_1_;
  VaultWorld::Files whole_;
  VaultWorld::Files home_;
  Truth right_;
  std::unique_ptr<EpochKeys> old_keys_;
  int refused_ = 0;
  int accepted_ = 0;
};

// R makes a head that follows the newest one, with the keys that he has.
TEST_F(HistoryAttack, AHeadOfAClosedEpochIsNotTaken) {
  keep();
  ASSERT_OK(world_.open_read_only());
  auto heads = read_heads(*make_directory_blob_store(world_.env, "/vault"), world_.vault->custody());
  ASSERT_OK(heads);
  const Head::Signed newest = heads->newest_first.front();
  std::vector<std::pair<Generation, Bytes>> forged;
  for (const bool older_keyring : {false, true}) {
    for (const std::uint16_t format : {Head::kFormat1, Head::kFormat2}) {
      Head head = newest.head;
      head.format = format;
      head.generation = newest.head.generation.next();
      head.predecessor = newest.file_digest;
      head.epoch = EpochNumber(1);
      if (older_keyring) {
        head.keyring_generation = Generation(head.keyring_generation.value - 1);
        head.keyring = world_.vault->custody().keyring_predecessor();
      }
      head.points_lsn = Lsn(1);
      head.points = Digest{};
      const auto mac = head_mac(world_.vault->custody(), head, head.encode());
      ASSERT_OK(mac);
      forged.emplace_back(head.generation, Head::file_of(head.encode(), head.format, *mac));
    }
  }
  for (const auto& [generation, file] : forged) {
    put_all_back();
    world_.env.write(Env::Path("/vault") / kHeadFiles.file(generation.value), file);
    expect_error_or_no_difference("a forged head");
  }
  EXPECT_EQ(refused_, 0) << "it is passed over";
}

// R makes a keyring that follows the newest one, with all that he has: the root key, and the keyring key that his
// version unwraps. The data key of epoch 2 is not in it, and the owner goes on with his own.
TEST_F(HistoryAttack, AKeyringOfAClosedEpochIsPassedOver) {
  keep();
  const auto newest_of = [](const VaultWorld::Files& files) {
    std::pair<Env::Path, Bytes> newest;
    for (const auto& [path, bytes] : files) {
      if (path.extension() == ".keyring") newest = {path, bytes};
    }
    return newest;
  };
  const Bytes old = newest_of(copy_of_epoch_1_).second;
  const Bytes now = newest_of(whole_).second;
  const auto closed = ClosedKeyring::decode(old);
  ASSERT_OK(closed);
  ReachedKey reached;
  const auto key = unwrap_slot(world_.resolver, *world_.platform_keys, closed->vault, closed->active_slot(), reached);
  ASSERT_OK(key);
  auto forged = open_keyring(old, *key);
  ASSERT_OK(forged);
  forged->generation = ClosedKeyring::decode(now)->generation.next();
  forged->predecessor = sha256(now);
  const auto file = forged->seal(*key);
  ASSERT_OK(file);
  world_.env.write("/vault/" + keyring_blob_name(forged->generation), *file);
  expect_error_or_no_difference("a forged keyring");
  EXPECT_EQ(refused_, 0) << "it is passed over";
}

// R makes a journal with the keys that he has, and puts it where one is expected: in place of the newest, of one
// before it, behind it.
TEST_F(HistoryAttack, AJournalOfAClosedEpochIsNotTaken) {
  ASSERT_OK(world_.write("behind the last head"));
  ASSERT_OK(world_.vault->journal().commit());
  keep();
  std::set<std::uint64_t> numbers;
  for (const Env::Path& path : world_.env.files("/vault/journal")) {
    numbers.insert(number_of(path.filename().string(), kJournalFiles.extension).value());
  }
  ASSERT_GE(numbers.size(), 2U);
  numbers.insert(*numbers.rbegin() + 1);
  for (const std::uint64_t number : numbers) {
    for (const std::uint64_t replayed_to : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{5}, std::uint64_t{40}}) {
      put_all_back();
      const Env::Path path = Env::Path("/vault") / kJournalFiles.file(number);
      if (world_.env.info(path)->kind != FileKind::missing) world_.env.remove(path);
      auto journal = Journal::create(world_.env, "/vault/journal", *old_keys_,
                                     {ContainerNumber(number), Lsn(replayed_to), {}, {}}, {}, {});
      ASSERT_OK(journal);
      ASSERT_OK((*journal)->append(EntryOwner::tree, to_bytes(bytes_of("forged"))));
      ASSERT_OK((*journal)->append(EntryOwner::catalogue, Catalogue().put(ItemInfo{"forged", UnixNanos{1}, false})));
      ASSERT_OK((*journal)->commit());
      expect_error_or_no_difference("journal " + std::to_string(number) + " from " + std::to_string(replayed_to));
    }
  }
  EXPECT_GT(refused_, 0);
  EXPECT_GT(accepted_, 0) << "a file that no head names is passed over";
}

// R makes a segment as a crash would leave one, where there was none and in the place of one.
TEST_F(HistoryAttack, AnOpenSegmentOfAClosedEpochIsNotRecovered) {
  keep();
  std::set<std::uint64_t> there;
  for (const Env::Path& path : world_.env.files("/vault/segments")) {
    there.insert(number_of(path.filename().string(), kSegmentFiles.extension).value_or(0));
  }
  for (const bool in_place : {false, true}) {
    put_all_back();
    const std::string name = "segments/" + numbered_name(*there.begin(), kOpenSegmentExtension);
    world_.env.make_directories("/forged/segments");
    world_.env.make_directories("/forged/index");
    const auto blobs = make_directory_blob_store(world_.env, "/forged");
    SegmentStore::Options options;
    options.minimum_next_segment = ContainerNumber(*there.begin());
    SegmentRecovery recovery;
    auto forged = SegmentStore::open(world_.env, "/forged", *blobs, *old_keys_, options, recovery);
    ASSERT_OK(forged);
    ASSERT_OK((*forged)->put(RecordType::chunk, bytes_of("planted")));
    ASSERT_OK((*forged)->sync());
    const Bytes planted = world_.env.read(Env::Path("/forged") / name);
    world_.env.write(Env::Path("/vault") / name, planted);
    forged->reset();
    world_.env.remove("/forged");
    if (in_place) world_.env.remove(Env::Path("/vault") / kSegmentFiles.file(*there.begin()));
    ASSERT_OK(world_.open());
    EXPECT_TRUE(world_.env.exists(Env::Path("/vault") / name)) << "it is passed over";
    ASSERT_OK(world_.back_up("vm3", in_place ? "four" : "five"));
    ASSERT_OK(world_.open_read_only());
    const auto report = verify_vault(world_.env, "/vault", world_.vault.get(), {});
    ASSERT_OK(report);
    bool named = false;
    for (const Damage& damage : report->damage) {
      named = named || (damage.file == name && damage.error.code == ErrorCode::EpochClosed);
    }
    EXPECT_TRUE(named) << name;
    put_all_back();
    if (in_place) world_.env.remove(Env::Path("/vault") / kSegmentFiles.file(*there.begin()));
    world_.env.write(Env::Path("/vault") / name, planted);
    expect_error_or_no_difference(name);
  }
  EXPECT_GT(accepted_, 0);
}

// Nothing of the owner's is left open by then.
TEST_F(HistoryAttack, AnEpochIsClosedWithWhatAFailedSyncLeft) {
  SegmentStore& segments = world_.vault->segments();
  const auto synced = segments.put(RecordType::chunk, bytes_of("of epoch 2"));
  ASSERT_OK(synced);
  ASSERT_OK(segments.sync());
  const std::string file = "segments/" + numbered_name(segments.segment_of(synced->id)->value, kOpenSegmentExtension);
  ASSERT_TRUE(world_.env.exists(Env::Path("/vault") / file));
  ASSERT_OK(segments.put(RecordType::chunk, bytes_of("never durable")));
  world_.env.fail_next_sync(1);
  EXPECT_EQ(segments.sync().code(), ErrorCode::IoError);
  world_.kv->add_version("kek");
  ASSERT_OK(world_.vault->custody().refresh());
  ASSERT_OK(world_.back_up("vm1", "four"));
  ASSERT_EQ(world_.vault->custody().status().current_epoch, EpochNumber(3));
  EXPECT_FALSE(world_.env.exists(Env::Path("/vault") / file));
  world_.close_without_a_word();
  ASSERT_OK(world_.open());
  EXPECT_FALSE(mentions(world_.vault->opening_notes(), ".open")) << "nothing is passed over";
  EXPECT_TRUE(world_.vault->segments().read_verified(RecordType::chunk, synced->id).ok());
}

// R has the whole vault of epoch 1: each of its files in the place of today's, and beside them.
TEST_F(HistoryAttack, FilesOfAnOldCopyAreNoticed) {
  keep();
  for (const auto& [path, content] : copy_of_epoch_1_) {
    if (path.filename() == "vault.lock" || path.filename() == "vault.hold") continue;
    put_all_back();
    world_.env.write(path, content);
    expect_error_or_no_difference(path.string());
  }
}

// The head's word on the points is compared with what checkpoint and journal make of them.
TEST_F(HistoryAttack, TheHeadVouchesForThePoints) {
  keep();
  ASSERT_OK(world_.open_read_only());
  const auto heads = read_heads(*make_directory_blob_store(world_.env, "/vault"), world_.vault->custody());
  ASSERT_OK(heads);
  Head head = heads->newest_first.front().head;
  head.generation = head.generation.next();
  head.predecessor = heads->newest_first.front().file_digest;
  const auto put = [&](const Head& what) {
    const auto mac = head_mac(world_.vault->custody(), what, what.encode());
    ASSERT_OK(mac);
    world_.env.write(Env::Path("/vault") / kHeadFiles.file(what.generation.value),
                     Head::file_of(what.encode(), what.format, *mac));
  };
  put(head);
  ASSERT_OK(world_.open_read_only());
  world_.env.remove(Env::Path("/vault") / kHeadFiles.file(head.generation.value));
  head.points.mutable_view()[0] ^= std::byte{1};
  put(head);
  // The pinned head has the same points as the vault: an older state would do.
  Pin pin = world_.machine_state->pin(world_.vault->header().id, "/vault")->value();
  const auto signed_head = read_heads(*make_directory_blob_store(world_.env, "/vault"), world_.vault->custody());
  ASSERT_OK(signed_head);
  pin.head_generation = head.generation;
  pin.head_digest = signed_head->newest_first.front().file_digest;
  ASSERT_OK(world_.machine_state->set_pin(pin, "/vault"));
  EXPECT_EQ(code_of(world_.open_read_only()), ErrorCode::JournalDamaged);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::JournalDamaged);
  ASSERT_OK(world_.open_for_points());
  ASSERT_TRUE(world_.vault->points_in_doubt().has_value());
  EXPECT_EQ(world_.vault->points_in_doubt()->code, ErrorCode::JournalDamaged);
}

// Two branches of one snapshot: a machine that was restored, and the one that went on. Each file of the one in the
// other's place.
class Branches : public HistoryAttack {};

TEST_F(Branches, NoFileOfOneIsTakenInTheOther) {
  ASSERT_OK(world_.write("common"));
  ASSERT_OK(world_.vault->journal().commit());
  world_.close_without_a_word();
  const auto snapshot = world_.files();
  const auto home = world_.files("/home");
  const auto go_on = [&](const std::string& name) {
    world_.put_back(snapshot);
    world_.put_back(home, "/home");
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.write(name));
    ASSERT_OK(world_.back_up("vm1", name + " disk"));
    ASSERT_OK(world_.checkpoint());
    ASSERT_OK(world_.back_up("vm2", name + " other"));
    ASSERT_OK(world_.write(name + " at the end"));
    ASSERT_OK(world_.vault->journal().commit());
  };
  ASSERT_NO_FATAL_FAILURE(go_on("theirs"));
  world_.close_without_a_word();
  const auto theirs = world_.files();
  ASSERT_NO_FATAL_FAILURE(go_on("mine"));
  keep();
  std::size_t exchanged = 0;
  for (const auto& [path, content] : theirs) {
    const auto mine = whole_.find(path);
    if (mine != whole_.end() && mine->second == content) continue;
    put_all_back();
    world_.env.write(path, content);
    expect_error_or_no_difference(path.string());
    ++exchanged;
  }
  EXPECT_GT(exchanged, 8U);
  // A folder of the other as a whole.
  for (const VaultFolder& folder : kVaultFolders) {
    put_all_back();
    world_.put_back(theirs, Env::Path("/vault") / folder.name);
    expect_error_or_no_difference(folder.name);
  }
}

// A crash between a new journal and the head that names it: the number is used again by nobody, and what was in the
// file that no head named is not there.
TEST_F(HistoryAttack, AJournalThatNoHeadNamesIsNeverReplayed) {
  keep();
  world_.put_back(whole_);
  world_.put_back(home_, "/home");
  ASSERT_OK(world_.open());
  const ContainerNumber named = world_.vault->journal().number();
  world_.close_without_a_word();
  const auto with_journal = world_.files();
  // The head did not survive, the file did, with an entry that the owner never wrote in this history.
  put_all_back();
  for (const auto& [path, content] : with_journal) {
    if (path == Env::Path("/vault") / kJournalFiles.file(named.value)) world_.env.write(path, content);
  }
  expect_error_or_no_difference("an unnamed journal");
  EXPECT_EQ(refused_, 0);
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.tree.texts, right_.tree);
}

}  // namespace
}  // namespace vaultfs
