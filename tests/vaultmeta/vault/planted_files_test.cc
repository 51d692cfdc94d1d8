// Whoever can write to the storage can put any file beside those of a vault, under any name. It is told of, it counts
// for nothing, and it keeps nobody from working: for whole directories, at random, and for each kind with the highest
// numbers there are.
#include <algorithm>
#include <iterator>
#include <memory>
#include <random>
#include <set>

#include "store/index/chunk_index_file.h"
#include "store/record/container.h"
#include "store/record/stream.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

struct Kind {
  const char* folder;
  const char* extension;
  [[nodiscard]] std::string file(std::uint64_t number) const {
    return std::string(folder) + '/' + numbered_name(number, extension);
  }
};

constexpr Kind kKinds[] = {{"keyrings", "keyring"}, {"heads", "head"},      {"segments", "seg"},
                           {"segments", "open"},    {"points", "point"},    {"checkpoints", "checkpoint"},
                           {"index", "index"},      {"journal", "journal"}, {"activity", "activity"}};

constexpr std::uint64_t kHighest = ~0ULL;
using PlantedTexts = std::vector<std::string>;

// A vault with two points, of which everything there is more than once is there more than once.
void live(VaultWorld& world) {
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "one"));
  ASSERT_OK(world.vault->custody().rewrap(false));
  ASSERT_OK(world.back_up("vm2", "two"));
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  ASSERT_OK(world.write("later"));
  ASSERT_OK(world.close());
}

class PlantedFiles : public testing::Test {
 protected:
  PlantedFiles() {
    live(world_);
    live(other_);
    whole_ = world_.files();
    home_ = world_.files("/home");
    foreign_ = other_.files();
  }

  void begin_again() {
    world_.close_without_a_word();
    world_.put_back(whole_);
    for (const std::string& name : planted_) {
      for (const std::string& left : {name, name + ".strange"}) {
        if (world_.env.exists("/vault/" + left)) world_.env.remove("/vault/" + left);
      }
    }
    for (const auto& [folder, extension] : kKinds) world_.env.make_directories(Env::Path("/vault") / folder);
    world_.put_back(home_, "/home");
    planted_.clear();
  }

  std::vector<std::uint64_t> numbers_of(const Kind& kind, const VaultWorld::Files& files) {
    std::vector<std::uint64_t> numbers;
    for (const auto& [path, bytes] : files) {
      if (path.parent_path() != Env::Path("/vault") / kind.folder) continue;
      if (const auto number = number_of(path.filename().string(), kind.extension)) numbers.push_back(*number);
    }
    return numbers;
  }

  void plant(const std::string& name, ByteView bytes) {
    world_.env.write("/vault/" + name, bytes);
    planted_.insert(name);
  }
  void plant_directory(const std::string& name) {
    world_.env.make_directories("/vault/" + name);
    planted_.insert(name);
  }

  // Something that is no file of this kind and number, whatever else it may be.
  Bytes odd_bytes(const Kind& kind, std::mt19937_64& random) {
    const auto any_of = [&](const VaultWorld::Files& files, bool same_kind) -> Bytes {
      std::vector<const Bytes*> choice;
      for (const auto& [path, bytes] : files) {
        const bool same = path.extension() == std::string(".") + kind.extension;
        if (same == same_kind && !bytes.empty()) choice.push_back(&bytes);
      }
      return choice.empty() ? Bytes{} : *choice[random() % choice.size()];
    };
    switch (random() % 6) {
      case 0:
        return {};
      case 1:
      case 2: {
        Bytes noise(random() % 5000);
        for (std::byte& b : noise) b = static_cast<std::byte>(random() & 0xffU);
        return noise;
      }
      case 3:
        return any_of(foreign_, true);
      case 4:
        return any_of(whole_, true);  // under another number
      default:
        return any_of(whole_, false);
    }
  }

  // A number that no file of the kind has.
  std::uint64_t odd_number(const Kind& kind, std::mt19937_64& random) {
    const std::vector<std::uint64_t> taken = numbers_of(kind, whole_);
    const std::uint64_t last = taken.empty() ? 0 : *std::max_element(taken.begin(), taken.end());
    // What a crash may leave is no odd file.
    if (std::string_view(kind.extension) == "open") return 1000 + random() % 1000;
    for (;;) {
      const std::uint64_t choices[] = {last + 1,      last + 2,     last + 3, last + 1000,
                                       0xffffffffULL, kHighest - 1, kHighest, random()};
      const std::uint64_t number = choices[random() % std::size(choices)];
      if (number != 0 && std::find(taken.begin(), taken.end(), number) == taken.end()) return number;
    }
  }

  void expect_named(const PlantedTexts& notes, bool owner) {
    for (const std::string& name : planted_) {
      // Who only reads looks at no more than what he needs.
      const bool needed =
          !name.starts_with("points/") && !name.starts_with("checkpoints/") && !name.starts_with("journal/");
      // Of heads and indexes the one that matters most is named.
      if (name.starts_with("heads/")) continue;
      if (owner || needed) {
        EXPECT_TRUE(mentions(notes, name)) << name;
      }
    }
    const bool head =
        std::any_of(planted_.begin(), planted_.end(), [](const auto& name) { return name.starts_with("heads/"); });
    if (head) {
      EXPECT_TRUE(mentions(notes, "no head of this vault"));
    }
  }

  // Everything a vault is for.
  void expect_it_works() {
    const PlantedTexts two{"vm1=one", "vm2=two"};
    const PlantedTexts three{"vm1=one", "vm2=two", "vm3=three"};
    ASSERT_OK(world_.open_read_only());
    EXPECT_EQ(world_.points(), two);
    EXPECT_EQ(world_.tree.texts, (PlantedTexts{"vm1=one", "vm2=two", "later"}));
    expect_named(world_.vault->opening_notes(), false);

    ASSERT_OK(world_.open());
    EXPECT_EQ(world_.points(), two);
    expect_named(world_.vault->opening_notes(), true);
    const auto before = world_.vault->activity().entries();
    ASSERT_OK(before);
    ASSERT_OK(world_.back_up("vm3", "three"));
    ASSERT_OK(world_.vault->custody().rewrap(false));
    ASSERT_OK(world_.checkpoint());
    // What the opening has not named is told when it is in the way.
    for (const std::string& warning : world_.vault->take_warnings()) {
      EXPECT_TRUE(std::any_of(planted_.begin(), planted_.end(), [&](const std::string& name) {
        return warning.find(name) != std::string::npos;
      })) << warning;
    }
    ASSERT_OK(world_.close());

    ASSERT_OK(world_.open());
    EXPECT_EQ(world_.points(), three);
    EXPECT_FALSE(mentions(world_.vault->opening_notes(), "index was rebuilt"));
    const auto after = world_.vault->activity().entries();
    ASSERT_OK(after);
    EXPECT_GE(after->size(), before->size() + 3) << "nothing was kept out of the log";
    const auto checked = world_.vault->activity().verify();
    ASSERT_OK(checked);
    for (const ActivityDamage& damage : checked->damage) EXPECT_TRUE(planted_.contains(damage.file)) << damage.file;
    ASSERT_OK(world_.close());

    ASSERT_OK(world_.open_read_only());
    EXPECT_EQ(world_.points(), three);
    const auto report = verify_vault(world_.env, "/vault", world_.vault.get(), {});
    ASSERT_OK(report);
    for (const Damage& damage : report->damage) {
      const std::string file = damage.file.substr(0, damage.file.find(".strange"));
      EXPECT_TRUE(planted_.contains(file)) << damage.file << ": " << damage.error.message;
    }
    world_.close_without_a_word();
  }

  VaultWorld world_;
  VaultWorld other_{2};
  VaultWorld::Files whole_;
  VaultWorld::Files home_;
  VaultWorld::Files foreign_;
  std::set<std::string> planted_;
};

TEST_F(PlantedFiles, WithoutOneNothingIsTold) {
  expect_it_works();
  begin_again();
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.vault->opening_notes(), PlantedTexts{});
}

// An empty file, noise, or another vault's, with the highest numbers.
TEST_F(PlantedFiles, OfEachKindWithTheHighestNumbers) {
  std::mt19937_64 random(3);
  for (const Kind& kind : kKinds) {
    for (const std::uint64_t number : {std::uint64_t{0xffffffff}, kHighest - 1, kHighest}) {
      for (const bool empty : {true, false}) {
        begin_again();
        SCOPED_TRACE(kind.file(number) + (empty ? ", empty" : ""));
        plant(kind.file(number), empty ? Bytes{} : odd_bytes(kind, random));
        expect_it_works();
        if (HasFatalFailure()) return;
      }
    }
  }
}

// In the place where the vault's own next file of the kind belongs.
TEST_F(PlantedFiles, InThePlaceOfTheNextOne) {
  for (const Kind& kind : kKinds) {
    if (std::string_view(kind.extension) == "open") continue;
    const auto numbers = numbers_of(kind, whole_);
    ASSERT_FALSE(numbers.empty()) << kind.folder;
    const std::uint64_t next = *std::max_element(numbers.begin(), numbers.end()) + 1;
    for (const int form : {0, 1, 2, 3}) {
      begin_again();
      SCOPED_TRACE(kind.file(next) + " form " + std::to_string(form));
      if (form == 0) plant(kind.file(next), {});
      if (form == 1) plant(kind.file(next), Bytes(1000, std::byte{'x'}));
      if (form == 2) plant(kind.file(next), whole_.at("/vault/" + kind.file(next - 1)));
      if (form == 3) plant_directory(kind.file(next));
      expect_it_works();
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(PlantedFiles, WholeDirectoriesAtRandom) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    std::mt19937_64 random(seed);
    begin_again();
    const std::uint64_t count = 1 + random() % 6;
    std::string trace = "seed " + std::to_string(seed);
    for (std::uint64_t i = 0; i < count; ++i) {
      const Kind& kind = kKinds[random() % std::size(kKinds)];
      const std::string name = kind.file(odd_number(kind, random));
      if (world_.env.exists("/vault/" + name) || planted_.contains(name)) continue;
      if (random() % 12 == 0) {
        plant_directory(name);
      } else {
        plant(name, odd_bytes(kind, random));
      }
      trace += " " + name;
    }
    SCOPED_TRACE(trace);
    expect_it_works();
    if (HasFatalFailure()) return;
  }
}

// The holder of a closed epoch's key makes files whose headers are authentic.
TEST_F(PlantedFiles, WithAnOldKeyNoNumberIsDriven) {
  begin_again();
  ASSERT_OK(world_.open());
  EpochKeys& keys = world_.vault->keys();
  std::vector<std::pair<std::string, Bytes>> forged;
  for (const auto& [folder, kind] :
       {std::pair{kPointFiles, ContainerKind::manifest}, std::pair{kCheckpointFiles, ContainerKind::checkpoint},
        std::pair{kIndexFiles, ContainerKind::index}}) {
    const auto file = seal_stream(world_.env, keys, kind, ContainerNumber(kHighest - 1), bytes_of("x"));
    ASSERT_OK(file);
    forged.emplace_back(folder.file(kHighest - 1), *file);
  }
  ContainerHeader header;
  ASSERT_OK(ContainerCipher::create(world_.env, keys, ContainerKind::activity, ContainerNumber(kHighest - 1), header));
  forged.emplace_back(kActivityFiles.file(kHighest - 1), header.encode());
  ASSERT_OK(world_.vault->custody().new_epoch());
  ASSERT_OK(world_.close());
  for (const auto& [name, bytes] : forged) plant(name, bytes);
  ASSERT_OK(world_.open());
  const auto point = world_.back_up("vm3", "three");
  ASSERT_OK(point);
  EXPECT_EQ(point->number, PointNumber(3));
  ASSERT_OK(world_.close());
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.points(), (PlantedTexts{"vm1=one", "vm2=two", "vm3=three"}));
  EXPECT_TRUE(world_.vault->activity().entries().ok());
  for (const Env::Path& path : world_.env.files("/vault/activity")) {
    EXPECT_TRUE(path.filename().string().starts_with("0000") ||
                planted_.contains("activity/" + path.filename().string()))
        << path;
  }
}

// Another branch of the same history has made a keyring that everything in it is right of, but no head names it.
TEST_F(PlantedFiles, ABranchsKeyringIsPassedOver) {
  begin_again();
  ASSERT_OK(world_.open());
  for (int i = 0; i < 3; ++i) ASSERT_OK(world_.vault->custody().rewrap(false));
  ASSERT_OK(world_.close());
  const VaultWorld::Files branch = world_.files();
  begin_again();
  const auto numbers = numbers_of(kKinds[0], branch);
  const std::uint64_t highest = *std::max_element(numbers.begin(), numbers.end());
  plant(kKinds[0].file(highest), branch.at("/vault/" + kKinds[0].file(highest)));
  expect_it_works();
  // And where the vault's own one of that number belongs, it makes room.
  ASSERT_OK(world_.open());
  while (world_.vault->custody().generation() < Generation(highest)) {
    ASSERT_OK(world_.vault->custody().rewrap(false));
  }
  EXPECT_EQ(world_.env.read("/vault/" + kKinds[0].file(highest) + ".strange"),
            branch.at("/vault/" + kKinds[0].file(highest)));
  ASSERT_OK(world_.close());
  ASSERT_OK(world_.open());
}

// The branch has stored what this vault has not. Its index would have the backup take that for known.
TEST_F(PlantedFiles, ABranchsIndexKeepsNothingFromBeingStored) {
  begin_again();
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.back_up("vm3", "three"));
  ASSERT_OK(world_.close());
  const VaultWorld::Files branch = world_.files("/vault/index");
  ASSERT_EQ(branch.size(), 1U);
  const auto segments = [this] {
    std::vector<std::pair<Env::Path, std::size_t>> sizes;
    for (const auto& [path, bytes] : world_.files("/vault/segments")) sizes.emplace_back(path, bytes.size());
    return sizes;
  };
  const auto of_the_branch = segments();
  begin_again();
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.back_up("vm4", "other"));
  ASSERT_OK(world_.close());
  ASSERT_EQ(segments(), of_the_branch) << "the segments' names and lengths tell the branches apart";
  for (const Env::Path& path : world_.env.files("/vault/index")) world_.env.remove(path);
  for (const auto& [path, bytes] : branch) world_.env.write(path, bytes);
  ASSERT_OK(world_.open());
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "index was rebuilt"));
  ASSERT_OK(world_.back_up("vm3", "three"));
  EXPECT_EQ(world_.points(), (PlantedTexts{"vm1=one", "vm2=two", "vm4=other", "vm3=three"}));
  ASSERT_OK(world_.close());
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.vault->opening_notes(), PlantedTexts{});
  EXPECT_EQ(world_.points(), (PlantedTexts{"vm1=one", "vm2=two", "vm4=other", "vm3=three"}));
}

TEST_F(PlantedFiles, VerifyNamesWhatAnIndexMakesUp) {
  begin_again();
  const Env::Path path = world_.env.files("/vault/index").at(0);
  const ContainerNumber number(*number_of(path.filename().string(), "index"));
  ASSERT_OK(world_.open_read_only());
  const EpochKeys& keys = world_.vault->keys();
  const auto stream = open_stream(keys, ContainerKind::index, number, world_.env.read(path), ErrorCode::DamagedSegment);
  ASSERT_OK(stream);
  const auto file = ChunkIndexFile::decode(stream->content);
  ASSERT_OK(file);
  ASSERT_TRUE(file->head.has_value());
  const auto damage_of = [&](const ChunkIndex& index) {
    const auto sealed = seal_stream(world_.env, keys, ContainerKind::index, number,
                                    ChunkIndexFile::encode(*file->head, file->segments, {}, index, {}));
    EXPECT_TRUE(sealed.ok());
    world_.env.write(path, *sealed);
    auto report = verify_vault(world_.env, "/vault", world_.vault.get(), {});
    EXPECT_TRUE(report.ok());
    return report->damage;
  };
  const auto as_it_is = [&] {
    auto index = std::make_unique<ChunkIndex>();
    for (const auto& entry : file->entries) index->insert(entry.key, entry.place);
    return index;
  };
  EXPECT_TRUE(damage_of(*as_it_is()).empty());
  const ChunkIndexFile::Entry entry = file->entries.at(0);
  const auto expect_named_for = [&](const ChunkIndex::Key& key, const ChunkPlace& place) {
    const auto index = as_it_is();
    index->insert(key, place);
    const std::vector<Damage> damage = damage_of(*index);
    ASSERT_EQ(damage.size(), 1U);
    EXPECT_EQ("/vault/" + damage[0].file, path.string());
    EXPECT_EQ(damage[0].error.code, ErrorCode::DamagedSegment);
  };
  ChunkIndex::Key other_key = entry.key;
  other_key[7] ^= std::byte{1};
  expect_named_for(other_key, entry.place);
  ChunkPlace place = entry.place;
  place.offset += 8;
  expect_named_for(entry.key, place);
  place = entry.place;
  --place.plaintext_bytes;
  expect_named_for(entry.key, place);
  place = entry.place;
  place.type = place.type == RecordType::chunk ? RecordType::map_page : RecordType::chunk;
  expect_named_for(entry.key, place);
}

}  // namespace
}  // namespace vaultfs
