#pragma once

#include <cstdint>

#include "base/byte_codec.h"
#include "base/bytes.h"
#include "vaultmeta/catalogue/catalogue.h"

namespace vaultfs {

// How the changes of a catalogue are written down, in the journal's entries and in checkpoints (docs/format.md, section
// 9.1). Each begins with its kind and, where kFramedChange is set in that, the u32 length of what follows. Changes of
// the first versions have no length.
enum class CatalogueChange : std::uint8_t {
  item = 1,
  point = 2,
  job = 3,
  removed_point = 4,
  point_file = 5,
  superseded = 6,
  reencrypting = 7,
  damaged = 8,
  healed = 9,
};

inline constexpr std::uint8_t kFramedChange = 0x80;

[[nodiscard]] Bytes encode_change(const ItemInfo& item);
// Of a point whose manifest is in another file than its own: with the change that says so.
[[nodiscard]] Bytes encode_change(const PointInfo& point);
[[nodiscard]] Bytes encode_change(const JobInfo& job);  // with at most 1,024 bytes of its detail
// Time 0: it is gone.
[[nodiscard]] Bytes encode_change(const SupersededManifest& manifest);
[[nodiscard]] Bytes encode_removed_point(PointNumber number);
[[nodiscard]] Bytes encode_reencrypting(bool reencrypting);
// As many changes as it takes; empty for none.
[[nodiscard]] Bytes encode_damaged(const std::vector<KnownDamage>& damage);
[[nodiscard]] Bytes encode_healed(const std::vector<ChunkIndex::Key>& keys);

// What follows the kind. The reader fails at what is malformed.
[[nodiscard]] ItemInfo decode_item_change(ByteReader& reader);
[[nodiscard]] PointInfo decode_point_change(ByteReader& reader);
[[nodiscard]] JobInfo decode_job_change(ByteReader& reader);
[[nodiscard]] SupersededManifest decode_superseded_change(ByteReader& reader);
[[nodiscard]] std::vector<KnownDamage> decode_damaged_change(ByteReader& reader);
[[nodiscard]] std::vector<ChunkIndex::Key> decode_healed_change(ByteReader& reader);

}  // namespace vaultfs
