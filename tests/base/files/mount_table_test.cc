#include "base/files/mount_table.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

namespace vaultfs {
namespace {

constexpr std::string_view kTable =
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "40 22 0:50 / /mnt/a\\040b rw,nosuid shared:2 master:1 - fuse.vaultfs /srv/my\\040vault "
    "rw,user_id=1000,group_id=1\n"
    "41 40 0:51 / /mnt/a\\040b ro,nosuid - tmpfs none rw,size=4k\n"
    "42 22 0:52 / /mnt/c ro - fuse.vaultfs /srv/v ro,user_id=0\n"
    "43 22 0:50 / /mnt/bound rw - fuse.vaultfs /srv/my\\040vault rw,user_id=1000\n"
    "a line of another form\n";

TEST(MountTable, IsReadAsTheKernelWritesIt) {
  const std::vector<MountEntry> table = parse_mount_table(kTable);
  ASSERT_EQ(table.size(), 5U);
  const MountEntry& mount = table[1];
  EXPECT_EQ(mount.id, "40");
  EXPECT_EQ(mount.parent, "22");
  EXPECT_EQ(mount.device, "0:50");
  EXPECT_EQ(mount.point, "/mnt/a b");
  EXPECT_EQ(mount.type, "fuse.vaultfs");
  EXPECT_EQ(mount.source, "/srv/my vault");
  EXPECT_EQ(mount.value_of("user_id"), "1000");
  EXPECT_EQ(mount.value_of("user"), "");
  EXPECT_FALSE(mount.has("ro"));
  EXPECT_TRUE(table[3].has("ro"));
}

TEST(MountTable, WhatLiesOverAnotherIsWhatIsSeen) {
  const std::vector<MountEntry> table = parse_mount_table(kTable);
  EXPECT_TRUE(is_covered(table, table[1]));
  EXPECT_FALSE(is_covered(table, table[4])) << "the same file system elsewhere";
  EXPECT_EQ(uppermost_at(table, "/mnt/a b")->type, "tmpfs");
  EXPECT_EQ(uppermost_at(table, "/mnt/c")->id, "42");
  EXPECT_FALSE(uppermost_at(table, "/mnt").has_value());
}

TEST(MountTable, OfThisProcessHasItsRoot) {
  const auto root = uppermost_at(mount_table(), "/");
  ASSERT_TRUE(root.has_value());
  EXPECT_FALSE(root->device.empty());
}

TEST(MountTable, DeviceAsANumber) {
  EXPECT_EQ(number_of_device("0:53"), makedev(0, 53));
  EXPECT_EQ(number_of_device("259:1048575"), makedev(259, 1048575));
  for (const char* none : {"", "0", ":", "1:", ":1", "1:2:3", "-1:2", "1:x", "99999999999:1"}) {
    EXPECT_EQ(number_of_device(none), 0U) << none;
  }
}

}  // namespace
}  // namespace vaultfs
