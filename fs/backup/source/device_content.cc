#include "fs/backup/source/device_content.h"

#include <blkid/blkid.h>

#include <memory>

namespace vaultfs {
namespace {

struct ProbeDeleter {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};

}  // namespace

Result<std::string> content_of_device(int descriptor) {
  const std::unique_ptr<blkid_struct_probe, ProbeDeleter> probe(blkid_new_probe());
  const bool ready = probe != nullptr && blkid_probe_set_device(probe.get(), descriptor, 0, 0) == 0 &&
                     blkid_probe_enable_superblocks(probe.get(), 1) == 0 &&
                     blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE) == 0 &&
                     blkid_probe_enable_partitions(probe.get(), 1) == 0;
  if (!ready) return Error{ErrorCode::IoError, "cannot look at what is on the device"};
  constexpr int kNothing = 1;
  constexpr int kSeveral = -2;
  const int found = blkid_do_safeprobe(probe.get());
  if (found == kNothing) return std::string();
  if (found == kSeveral) return std::string("several kinds of data");
  if (found < 0) return Error{ErrorCode::IoError, "cannot read what is on the device"};
  const auto value = [&probe](const char* name) -> std::string {
    const char* text = nullptr;
    return blkid_probe_lookup_value(probe.get(), name, &text, nullptr) == 0 && text != nullptr ? text : "";
  };
  if (const std::string type = value("TYPE"); !type.empty()) {
    return (value("USAGE") == "filesystem" ? "a file system (" : "data (") + type + ")";
  }
  return "a partition table (" + value("PTTYPE") + ")";
}

}  // namespace vaultfs
