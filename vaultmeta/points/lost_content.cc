#include "vaultmeta/points/lost_content.h"

#include <algorithm>

#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

std::optional<Error> LostContent::look_at_chunk(const ChunkId& id) {
  auto error = look(id);
  const auto type = segments_.listed_type(id);
  if (error || !type.ok() || *type != RecordType::map_page) return error;
  return Error{ErrorCode::ChunkMismatch, "a map page stands where a chunk should be"};
}

std::optional<Error> LostContent::look(const ChunkId& id) {
  if (const auto known = read_.find(id); known != read_.end()) return known->second;
  const UseGate::Use use = segments_.use();
  std::set<ContainerNumber> lies_in;
  const Status status = read(id, lies_in);
  const bool in_sound_ones =
      !lies_in.empty() && std::ranges::all_of(lies_in, [this](ContainerNumber n) { return sound_.contains(n); });
  if (status.ok()) {
    if (!in_sound_ones) read_.emplace(id, std::nullopt);
    return std::nullopt;
  }
  for (const ContainerNumber number : lies_in) {
    if (!sound_.contains(number)) lost_.insert(number);
  }
  nowhere_ = nowhere_ || status.code() == ErrorCode::ChunkMissing || lies_in.empty();
  read_.emplace(id, status.error());
  return status.error();
}

Status LostContent::read(const ChunkId& id, std::set<ContainerNumber>& lies_in) {
  VAULTFS_ASSIGN_OR_RETURN(const ContainerNumber segment, segments_.segment_of(id));
  lies_in.insert(segment);
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<ContainerNumber> base, segments_.base_segment_of(id));
  if (base) lies_in.insert(*base);
  const bool walked = sound_.contains(segment) && (!base || sound_.contains(*base));
  if (walked) return check_form(id);
  const auto place = segments_.place_of(ChunkIndex::key_of(id));
  const bool page = place && place->type == RecordType::map_page;
  const auto content = segments_.read_verified(page ? RecordType::map_page : RecordType::chunk, id);
  return content.ok() ? check_form(id) : Status(content.error());
}

// The records themselves were read: here, that what a patch lies over is of the right kind. A patch's header, and with
// it what it lies over, is believed as its content is.
Status LostContent::check_form(const ChunkId& id) {
  VAULTFS_ASSIGN_OR_RETURN(const RecordType type, segments_.listed_type(id));
  if (type != RecordType::patch) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<PatchHeader> patch, segments_.patch_of(id));
  if (!patch || patch->base.is_zero()) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(const RecordType below, segments_.listed_type(patch->base));
  if (below == RecordType::chunk) return ok_status();
  return Error{ErrorCode::ChunkMismatch, "a patch lies over something that is no chunk"};
}

}  // namespace vaultfs
