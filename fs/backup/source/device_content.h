#pragma once

#include <string>

#include "base/result.h"

namespace vaultfs {

// What is on a block device, so that nobody overwrites the wrong one: "a file system (ext4)", "a partition table
// (gpt)", "several kinds of data"; empty if nothing is recognised. By libblkid(3). The errors of reading the device.
[[nodiscard]] Result<std::string> content_of_device(int descriptor);

}  // namespace vaultfs
