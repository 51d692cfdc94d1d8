#pragma once

#include <string>

#include "base/bytes.h"

namespace vaultfs {

inline constexpr std::size_t kImageHeaderBytes = 4096;

// Why the file that begins with these bytes is not a whole disk image by itself, for people: its content lies partly in
// another file (qcow2, QED, VMDK, VDI, VHD), or the program that wrote it has not closed it. "" for everything else,
// raw images above all: this is about what is known to be incomplete, not about what is right.
[[nodiscard]] std::string why_image_is_incomplete(ByteView header);

}  // namespace vaultfs
