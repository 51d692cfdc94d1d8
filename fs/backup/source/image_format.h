#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/bytes.h"

namespace vaultfs {

// Bytes of an image from `offset` on: `length` of them, fewer where it ends before or can't be read.
using ImageReader = std::function<Bytes(std::uint64_t offset, std::size_t length)>;

// Why a file is not a whole disk image by itself, for people: its content lies partly in another file (qcow2, QED,
// VMDK, VDI, VHD, VHDX, Bochs), or the program that wrote it has not closed it. "" for everything else, raw images
// above all: this is about what is known to be incomplete, not about what is right. Reads a few sectors.
[[nodiscard]] std::string why_image_is_incomplete(const ImageReader& image);

}  // namespace vaultfs
