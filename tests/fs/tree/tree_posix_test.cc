// Extended attributes, access lists, files without a name, space set aside, copies by reference.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <initializer_list>

#include "base/byte_codec.h"
#include "fs/tree/posix_acl.h"
#include "fs/tree/working_tree.h"
#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

using ExtendedMode = WorkingTree::ExtendedMode;

struct AclEntry {
  std::uint16_t tag;
  std::uint16_t permissions;
  std::uint32_t id = 0xffffffff;
};
Bytes acl(std::initializer_list<AclEntry> entries) {
  ByteWriter out;
  out.u32(2);
  for (const AclEntry& entry : entries) {
    out.u16(entry.tag);
    out.u16(entry.permissions);
    out.u32(entry.id);
  }
  return std::move(out).take();
}
// u::rw-,u:1000:rw-,g::r--,m::rw-,o::r--
Bytes named_acl() { return acl({{1, 6}, {2, 6, 1000}, {4, 4}, {0x10, 6}, {0x20, 4}}); }

class TreePosixTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(TreeUnderTest::create(env));
    ASSERT_OK(tree.open());
    const auto made = tree->make_directory(kRootInode, "vm", 0755, {});
    ASSERT_OK(made);
    item = made->number;
    file = make("file");
  }
  InodeNumber make(const std::string& name, std::uint32_t mode = 0644) {
    const auto made = tree->make_node(item, name, InodeType::file, mode, 0, {});
    EXPECT_TRUE(made.ok());
    return made.ok() ? made->number : InodeNumber{};
  }
  void crash() {
    tree.drop();
    env.crash(1, CrashMode::drop_all_unsynced);
    const Status opened = tree.open();
    ASSERT_TRUE(opened.ok()) << message_of(opened);
  }
  Status set(InodeNumber inode, const std::string& name, const Bytes& value, ExtendedMode mode = ExtendedMode::set) {
    return tree->set_extended(inode, name, value, mode, false);
  }
  ErrorCode code(const Status& status) { return status.ok() ? ErrorCode::Internal : status.code(); }
  Bytes content(InodeNumber inode) {
    auto bytes = read_all(*tree, inode);
    EXPECT_TRUE(bytes.ok()) << (bytes.ok() ? "" : bytes.error().message);
    return bytes.ok() ? std::move(bytes).value() : Bytes{};
  }
  std::uint64_t copy(InodeNumber from, std::uint64_t at, InodeNumber to, std::uint64_t onto, std::uint64_t length) {
    std::uint64_t done = 0;
    while (done < length) {
      const auto copied = tree->copy_range(*tree, {from, at + done}, {to, onto + done}, 0, length - done);
      EXPECT_TRUE(copied.ok()) << (copied.ok() ? "" : copied.error().message);
      if (!copied.ok() || *copied == 0) break;
      done += *copied;
    }
    return done;
  }

  SimEnv env;
  TreeUnderTest tree{env};
  InodeNumber item;
  InodeNumber file;
};

TEST_F(TreePosixTest, ExtendedAttributesSurviveCrashCheckpointAndSnapshot) {
  const Bytes small = noise(10, 1);
  const Bytes large = noise(65536, 2);
  ASSERT_OK(set(file, "user.small", small));
  ASSERT_OK(set(item, "trusted.large", large));
  ASSERT_OK(set(file, "user.empty", {}));
  ASSERT_OK(set(file, "user.gone", small));
  ASSERT_OK(tree->remove_extended(file, "user.gone"));
  ASSERT_OK(tree->fsync(file, 0));
  for (int round = 0; round < 2; ++round) {
    crash();
    EXPECT_EQ(tree->extended_attribute(file, "user.small").value(), small);
    EXPECT_EQ(tree->extended_attribute(item, "trusted.large").value(), large);
    EXPECT_EQ(tree->extended_attribute(file, "user.empty").value(), Bytes{});
    EXPECT_EQ(tree->extended_names(file).value(), (std::vector<std::string>{"user.empty", "user.small"}));
    EXPECT_EQ(tree->extended_attribute(file, "user.gone").code(), ErrorCode::NoData);
    ASSERT_OK(tree->checkpoint());
  }
  const auto snapshot = tree->snapshot("vm");
  ASSERT_OK(snapshot);
  for (const InodeRecord& record : snapshot->inodes) {
    if (record.number == file) {
      EXPECT_EQ(record.attributes.size(), 2U);
    } else if (record.number == item) {
      EXPECT_EQ(record.attributes.at(0).second, large);
    }
  }
}

TEST_F(TreePosixTest, ExtendedAttributesHaveRulesAndBounds) {
  ASSERT_OK(set(file, "user.a", noise(1, 1), ExtendedMode::create));
  EXPECT_EQ(code(set(file, "user.a", noise(1, 1), ExtendedMode::create)), ErrorCode::AlreadyExists);
  EXPECT_EQ(code(set(file, "user.b", noise(1, 1), ExtendedMode::replace)), ErrorCode::NoData);
  EXPECT_EQ(code(tree->remove_extended(file, "user.b")), ErrorCode::NoData);
  EXPECT_EQ(code(set(file, "system.other", {})), ErrorCode::NotSupported);
  EXPECT_EQ(tree->extended_attribute(file, "nonsense").code(), ErrorCode::NotSupported);
  EXPECT_EQ(code(set(file, "user.", {})), ErrorCode::InvalidArgument);
  EXPECT_EQ(code(set(file, "user.a", Bytes(65537))), ErrorCode::InvalidArgument);
  for (int i = 0; i < 3; ++i) ASSERT_OK(set(file, "user.big" + std::to_string(i), Bytes(65536)));
  EXPECT_EQ(code(set(file, "user.big3", Bytes(65536))), ErrorCode::NoSpace);
  ASSERT_OK(set(file, "user.big0", Bytes(1)));
  ASSERT_OK(set(file, "user.big3", Bytes(65000)));
}

TEST_F(TreePosixTest, FileCapabilitiesGoWithEveryChangeOfContentAndOwner) {
  const Bytes capability = noise(20, 3);
  const auto has = [&] { return tree->extended_attribute(file, "security.capability").ok(); };
  const auto give = [&] { ASSERT_OK(set(file, "security.capability", capability)); };
  give();
  ASSERT_OK(tree->write(file, 0, 0, noise(10, 4)));
  EXPECT_FALSE(has());
  give();
  ASSERT_OK(tree->truncate(file, 5));
  EXPECT_FALSE(has());
  give();
  ASSERT_OK(tree->fallocate(file, WorkingTree::FallocateMode::punch_hole, 0, 3));
  EXPECT_FALSE(has());
  give();
  AttributeChange owner;
  owner.uid = 7;
  ASSERT_TRUE(tree->set_attributes(file, owner).ok());
  EXPECT_FALSE(has());
  ASSERT_OK(tree->fsync(file, 0));
  crash();
  EXPECT_FALSE(has());
}

TEST_F(TreePosixTest, AccessListAndModeSayTheSame) {
  ASSERT_OK(set(file, std::string(kAccessAcl), named_acl()));
  EXPECT_EQ(tree->attributes(file)->mode, 0664U) << "the mask stands for the group";
  AttributeChange mode;
  mode.mode = 0600;
  ASSERT_TRUE(tree->set_attributes(file, mode).ok());
  EXPECT_EQ(tree->extended_attribute(file, std::string(kAccessAcl)).value(),
            acl({{1, 6}, {2, 6, 1000}, {4, 4}, {0x10, 0}, {0x20, 0}}));
  ASSERT_OK(set(file, std::string(kAccessAcl), acl({{1, 7}, {4, 5}, {0x20, 1}})));
  EXPECT_EQ(tree->attributes(file)->mode, 0751U);
  EXPECT_EQ(tree->extended_attribute(file, std::string(kAccessAcl)).code(), ErrorCode::NoData);
  EXPECT_EQ(code(set(file, std::string(kDefaultAcl), named_acl())), ErrorCode::PermissionDenied);
  for (const Bytes& bad : {Bytes(3), acl({}), acl({{1, 7}, {4, 5}}), acl({{1, 8}, {4, 5}, {0x20, 1}}),
                           acl({{4, 5}, {1, 7}, {0x20, 1}}), acl({{1, 7}, {2, 7, 1}, {4, 5}, {0x20, 1}})}) {
    EXPECT_EQ(code(set(file, std::string(kAccessAcl), bad)), ErrorCode::InvalidArgument);
  }
}

TEST_F(TreePosixTest, DefaultListTakesTheUmasksPlace) {
  const Creator who{1, 2, 027};
  const auto plain = tree->make_node(item, "plain", InodeType::file, 0666, 0, who);
  EXPECT_EQ(plain->mode, 0640U);
  ASSERT_OK(set(item, std::string(kDefaultAcl), named_acl()));
  const auto inherits = tree->make_node(item, "inherits", InodeType::file, 0640, 0, who);
  EXPECT_EQ(inherits->mode, 0640U);
  EXPECT_EQ(tree->extended_attribute(inherits->number, std::string(kAccessAcl)).value(),
            acl({{1, 6}, {2, 6, 1000}, {4, 4}, {0x10, 4}, {0x20, 0}}));
  const auto below = tree->make_directory(item, "below", 0777, who);
  EXPECT_EQ(below->mode, 0664U);
  EXPECT_EQ(tree->extended_attribute(below->number, std::string(kDefaultAcl)).value(), named_acl());
  EXPECT_TRUE(tree->extended_names(tree->make_symlink(item, "link", "x", who)->number)->empty());
  ASSERT_OK(tree->fsync(file, 0));
  crash();
  EXPECT_EQ(tree->extended_names(below->number)->size(), 2U);
}

TEST_F(TreePosixTest, WhatTheKernelKnowsStaysUntilItForgets) {
  const std::uint64_t inodes = tree->statistics().inodes;
  const InodeNumber other = make("other");
  ASSERT_OK(tree->write(file, 0, 0, Bytes(5000, std::byte{7})));
  const auto known = tree->lookup_known(item, "file");
  ASSERT_OK(known);
  EXPECT_EQ(known->number, file);
  ASSERT_TRUE(tree->remember(file));
  ASSERT_OK(tree->rename(item, "other", item, "file", WorkingTree::RenameMode::replace));
  EXPECT_EQ(tree->lookup(item, "file")->number, other);

  // Looked up before: it can still be used, as any open file without a name.
  const auto handle = tree->open(file, true);
  ASSERT_OK(handle);
  EXPECT_EQ(tree->attributes(file)->link_count, 0U);
  EXPECT_EQ(read_all(*tree, file).value(), Bytes(5000, std::byte{7}));
  EXPECT_EQ(tree->make_link(file, item, "back").code(), ErrorCode::NotFound);
  tree->release(*handle);
  tree->forget(file, 1);
  EXPECT_TRUE(tree->attributes(file).ok());
  EXPECT_EQ(tree->statistics().inodes, inodes + 1);
  tree->forget(file, 1);
  EXPECT_EQ(tree->attributes(file).code(), ErrorCode::NotFound);
  EXPECT_FALSE(tree->remember(file));
  EXPECT_EQ(tree->statistics().inodes, inodes);
  EXPECT_EQ(tree->statistics().files, 1U);

  // One with a name loses its count only; one count too many does no harm.
  ASSERT_TRUE(tree->remember(other));
  tree->forget(other, 5);
  EXPECT_TRUE(tree->attributes(other).ok());
  const auto directory = tree->make_directory(item, "directory", 0755, {});
  ASSERT_OK(directory);
  ASSERT_TRUE(tree->remember(directory->number));
  ASSERT_OK(tree->remove_directory(item, "directory"));
  EXPECT_TRUE(tree->list(directory->number)->empty());
  EXPECT_EQ(tree->make_directory(directory->number, "late", 0755, {}).code(), ErrorCode::NotFound);
  tree->forget(directory->number, 1);
  EXPECT_EQ(tree->statistics().inodes, inodes);
  // Of what a crash leaves without a name nothing is left.
  ASSERT_TRUE(tree->remember(other));
  ASSERT_OK(tree->unlink(item, "file"));
  ASSERT_OK(tree->sync_all());
  crash();
  EXPECT_EQ(tree->statistics().inodes, inodes - 1);
}

TEST_F(TreePosixTest, SpaceIsSetAsideUntilAllOfItIsWritten) {
  constexpr std::uint64_t kOne = kMiB + 4096;  // of a chunk, in the worst case
  const auto set_aside = [&] { return tree->statistics().set_aside_bytes; };
  using Mode = WorkingTree::FallocateMode;
  ASSERT_OK(tree->fallocate(file, Mode::allocate, 100, 3 * kMiB));
  EXPECT_EQ(tree->attributes(file)->size, 3 * kMiB + 100);
  EXPECT_EQ(set_aside(), 4 * kOne);
  ASSERT_OK(tree->fallocate(file, Mode::allocate, 0, 2 * kMiB));
  EXPECT_EQ(set_aside(), 4 * kOne) << "twice is once";

  ASSERT_OK(tree->write(file, 0, kMiB, Bytes(kMiB / 2, std::byte{1})));
  ASSERT_OK(tree->snapshot("vm"));
  EXPECT_EQ(set_aside(), 4 * kOne) << "half a chunk that is stored: the other half needs room once more";
  ASSERT_OK(tree->write(file, 0, kMiB + kMiB / 2, Bytes(kMiB / 2, std::byte{1})));
  EXPECT_EQ(set_aside(), 3 * kOne);
  ASSERT_OK(tree->write(file, 0, 3 * kMiB, Bytes(100, std::byte{2})));
  EXPECT_EQ(set_aside(), 2 * kOne) << "of the last chunk only this was asked for";
  ASSERT_OK(tree->fallocate(file, Mode::punch_hole, 0, kMiB));
  EXPECT_EQ(set_aside(), kOne);
  ASSERT_OK(tree->truncate(file, 2 * kMiB));
  EXPECT_EQ(set_aside(), 0U);

  // Beyond the end, for who appends; what is in memory already is not set aside again.
  ASSERT_OK(tree->write(file, 0, 2 * kMiB, Bytes(1000, std::byte{3})));
  ASSERT_OK(tree->fallocate(file, Mode::allocate_keep_size, 2 * kMiB, 5000));
  EXPECT_EQ(tree->attributes(file)->size, 2 * kMiB + 1000);
  EXPECT_EQ(set_aside(), kOne);
  ASSERT_OK(tree->append(file, 0, Bytes(4000, std::byte{3})));
  EXPECT_EQ(set_aside(), 0U);
  ASSERT_OK(tree->fallocate(file, Mode::allocate, 0, 10 * kMiB));
  EXPECT_GT(set_aside(), 5 * kOne);
  ASSERT_OK(tree->unlink(item, "file"));
  EXPECT_EQ(set_aside(), 0U);
}

TEST_F(TreePosixTest, WhatIsSetAsideShowsAsAllocated) {
  using Mode = WorkingTree::FallocateMode;
  const auto allocated = [&] { return tree->attributes(file)->allocated_bytes; };
  ASSERT_OK(tree->fallocate(file, Mode::allocate, 0, 3 * kMiB));
  EXPECT_EQ(allocated(), 3 * kMiB);
  ASSERT_OK(tree->fallocate(file, Mode::allocate_keep_size, 3 * kMiB, 4096));
  EXPECT_EQ(allocated(), 3 * kMiB + 4096) << "behind the end, too";
  ASSERT_OK(tree->write(file, 0, 0, Bytes(kMiB + kMiB / 2, std::byte{1})));
  EXPECT_EQ(allocated(), 3 * kMiB + 4096) << "what is written is not counted twice";
  ASSERT_OK(tree->snapshot("vm"));
  EXPECT_EQ(allocated(), 3 * kMiB + 4096) << "nor what is stored in parts";
  ASSERT_OK(tree->fallocate(file, Mode::punch_hole, 0, 4 * kMiB));
  EXPECT_EQ(allocated(), 0U);
}

TEST_F(TreePosixTest, AllocatingMovesTimesAlsoWhereTheSizeStays) {
  ASSERT_OK(tree->write(file, 0, 0, noise(100, 1)));
  const UnixNanos before = tree->attributes(file)->mtime;
  env.sim_clock().advance_seconds(1);
  ASSERT_OK(tree->fallocate(file, WorkingTree::FallocateMode::allocate, 0, 50));
  EXPECT_GT(tree->attributes(file)->mtime, before);
  EXPECT_EQ(tree->attributes(file)->ctime, tree->attributes(file)->mtime);
}

// With a writeback cache the kernel is the one who knows when a file was written.
TEST(TreeTimes, StayAsTheyWereSetWhereTheCallerKeepsThem) {
  SimEnv env;
  ASSERT_OK(TreeUnderTest::create(env));
  WorkingTree::Options options;
  options.caller_keeps_times = true;
  TreeUnderTest tree{env, options};
  ASSERT_OK(tree.open());
  const auto item = tree->make_directory(kRootInode, "vm", 0755, {});
  ASSERT_OK(item);
  const auto file = tree->make_node(item->number, "file", InodeType::file, 0644, 0, {});
  ASSERT_OK(file);
  AttributeChange change;
  change.mtime = UnixNanos{5};
  change.ctime = UnixNanos{6};
  ASSERT_OK(tree->set_attributes(file->number, change));
  env.sim_clock().advance_seconds(10);
  using Mode = WorkingTree::FallocateMode;
  ASSERT_OK(tree->write(file->number, 0, 0, noise(3 * kMiB, 1)));
  ASSERT_OK(tree->append(file->number, 0, noise(10, 2)));
  ASSERT_OK(tree->truncate(file->number, 2 * kMiB));
  ASSERT_OK(tree->truncate(file->number, 4 * kMiB));
  ASSERT_OK(tree->fallocate(file->number, Mode::allocate, 0, 5 * kMiB));
  ASSERT_OK(tree->fallocate(file->number, Mode::punch_hole, 10, 2 * kMiB));
  ASSERT_OK(tree->copy_range(*tree, {file->number, 0}, {file->number, 3 * kMiB}, 0, kMiB));
  ASSERT_OK(tree->fsync(file->number, 0));
  tree.drop();
  ASSERT_OK(tree.open());
  EXPECT_EQ(tree->attributes(file->number)->mtime, UnixNanos{5});
  EXPECT_EQ(tree->attributes(file->number)->ctime, UnixNanos{6});
}

TEST_F(TreePosixTest, TheSetGidBitGoesWithAnAccessListOfAStranger) {
  AttributeChange change;
  for (const bool stranger : {false, true}) {
    change.mode = 02754;
    ASSERT_OK(tree->set_attributes(file, change));
    ASSERT_OK(tree->set_extended(file, "user.x", noise(1, 1), ExtendedMode::set, stranger));
    EXPECT_EQ(tree->attributes(file)->mode, 02754U) << "no access list";
    ASSERT_OK(tree->set_extended(file, std::string(kAccessAcl), named_acl(), ExtendedMode::set, stranger));
    EXPECT_EQ(tree->attributes(file)->mode, stranger ? 0664U : 02664U);
  }
}

TEST_F(TreePosixTest, TheSetGidBitStaysForMembersWhereTheGroupMayNotExecute) {
  AttributeChange change;
  change.gid = 42;
  const auto left = [&](std::uint32_t mode, bool member) {
    change.mode = mode;
    EXPECT_TRUE(tree->set_attributes(file, change).ok());
    const auto dropped = tree->drop_set_id(file, [member](std::uint32_t gid) { return member && gid == 42; });
    EXPECT_TRUE(dropped.ok());
    const std::uint32_t after = tree->attributes(file)->mode;
    EXPECT_EQ(dropped.ok() && *dropped, after != mode) << std::oct << mode;
    return after;
  };
  EXPECT_EQ(left(02764, true), 02764U);
  EXPECT_EQ(left(06764, true), 02764U);
  EXPECT_EQ(left(02774, true), 0774U);
  EXPECT_EQ(left(02764, false), 0764U);
  EXPECT_EQ(left(06774, false), 0774U);
  EXPECT_EQ(left(0755, false), 0755U);
}

TEST_F(TreePosixTest, AFileWithoutANameMayGetOneAlsoAfterACheckpoint) {
  const auto unnamed = tree->make_unnamed(item, 0600, {});
  ASSERT_OK(unnamed);
  EXPECT_EQ(unnamed->attributes.link_count, 0U);
  const InodeNumber number = unnamed->attributes.number;
  const Bytes data = noise(kMiB + 100, 5);
  ASSERT_OK(tree->write(number, unnamed->handle, 0, data));
  ASSERT_OK(tree->fsync(number, unnamed->handle));
  ASSERT_OK(tree->checkpoint());
  const auto linked = tree->make_link(number, item, "named");
  ASSERT_OK(linked);
  EXPECT_EQ(linked->link_count, 1U);
  ASSERT_OK(tree->fsync(item, 0));
  crash();
  EXPECT_EQ(content(number), data);
  const auto lost = tree->make_unnamed(item, 0600, {});
  ASSERT_OK(lost);
  tree->release(lost->handle);
  EXPECT_EQ(tree->attributes(lost->attributes.number).code(), ErrorCode::NotFound);
  const auto left = tree->make_unnamed(item, 0600, {});
  ASSERT_OK(left);
  ASSERT_OK(tree->checkpoint());
  crash();
  EXPECT_EQ(tree->attributes(left->attributes.number).code(), ErrorCode::NotFound) << "nobody has it open any more";
  EXPECT_EQ(tree->make_unnamed(kRootInode, 0600, {}).code(), ErrorCode::NotPermitted);
}

TEST_F(TreePosixTest, CopiesShareChunksAndStandAlone) {
  const Bytes data = noise(3 * kMiB + 777, 6);
  ASSERT_OK(tree->write(file, 0, 0, data));
  const InodeNumber twin = make("twin");
  EXPECT_EQ(copy(file, 0, twin, 0, data.size()), data.size());
  EXPECT_EQ(content(twin), data);
  for (std::uint64_t i = 0; i < 4; ++i) {
    const auto ours = tree->chunk_at(twin, ChunkIndexInFile(i));
    ASSERT_TRUE(ours.ok() && ours->has_value());
    EXPECT_EQ(**ours, *tree->chunk_at(file, ChunkIndexInFile(i)).value());
  }
  ASSERT_OK(tree->write(file, 0, 10, noise(5, 7)));
  EXPECT_EQ(content(twin), data) << "a later write to the source is none to the copy";
  ASSERT_OK(tree->truncate(twin, data.size() + 1000));
  Bytes grown = data;
  grown.resize(data.size() + 1000);
  EXPECT_EQ(content(twin), grown) << "nothing shows behind a shared tail";
  ASSERT_OK(tree->fsync(twin, 0));
  crash();
  EXPECT_EQ(content(twin), grown);
}

TEST_F(TreePosixTest, CopiesAtAnyOffsetAreExact) {
  const Bytes data = noise(2 * kMiB + 5000, 8);
  ASSERT_OK(tree->write(file, 0, 0, data));
  Bytes model = noise(4 * kMiB, 9);
  const InodeNumber other = make("other");
  ASSERT_OK(tree->write(other, 0, 0, model));
  struct Case {
    std::uint64_t from, to, length;
  };
  for (const Case& c : {Case{100, kMiB + 100, kMiB + 3000}, Case{0, 17, 5000}, Case{kMiB, 0, kMiB + 5000},
                        Case{0, 2 * kMiB, 2 * kMiB + 5000}, Case{kMiB + 1, 3 * kMiB + 1, 2000}}) {
    const std::uint64_t expected = std::min<std::uint64_t>(c.length, data.size() - c.from);
    EXPECT_EQ(copy(file, c.from, other, c.to, c.length), expected);
    if (model.size() < c.to + expected) model.resize(c.to + expected);
    std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(c.from), expected,
                model.begin() + static_cast<std::ptrdiff_t>(c.to));
    EXPECT_EQ(content(other), model) << c.from << " → " << c.to;
  }
  EXPECT_EQ(tree->copy_range(*tree, {file, data.size()}, {other, 0}, 0, 10).value(), 0U);
  EXPECT_EQ(tree->copy_range(*tree, {file, 0}, {file, 100}, 0, 200).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(copy(file, 0, file, 2 * kMiB + 5000, 2 * kMiB), 2 * kMiB);
  Bytes longer = data;
  longer.insert(longer.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(2 * kMiB));
  EXPECT_EQ(content(file), longer);
}

TEST_F(TreePosixTest, HolesAreCopiedAsHoles) {
  ASSERT_OK(tree->truncate(file, 600 * kMiB));
  ASSERT_OK(tree->write(file, 0, 300 * kMiB, noise(100, 10)));
  const InodeNumber twin = make("twin");
  ASSERT_OK(tree->write(twin, 0, 0, noise(2 * kMiB, 11)));
  EXPECT_EQ(copy(file, 0, twin, 0, 600 * kMiB), 600 * kMiB);
  EXPECT_EQ(tree->attributes(twin)->size, 600 * kMiB);
  EXPECT_EQ(tree->seek_data(twin, 0).value(), 300 * kMiB);
  EXPECT_LE(tree->attributes(twin)->allocated_bytes, kMiB);
}

}  // namespace
}  // namespace vaultfs
