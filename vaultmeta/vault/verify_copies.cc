#include "vaultmeta/vault/verify_copies.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "store/blobs/blob_store.h"
#include "store/segment/file/record_copies.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

using LostIds = std::set<ChunkId>;

Result<std::optional<LostIds>> lost_in_file(Env& env, const std::filesystem::path& path) {
  VAULTFS_ASSIGN_OR_RETURN(const auto file, env.open(path, OpenMode::read_only));
  return RecordCopies::lost_in(*file);
}

// Damage of records: of what stands in another segment's place nothing tells what it took the place of.
bool is_of_a_closed_segment(const Damage& found) {
  return found.file.starts_with(std::string(kSegmentFiles.name) + '/') &&
         found.file.ends_with(std::string(".") + kSegmentFiles.extension) &&
         found.error.code != ErrorCode::DamagedHeader && found.error.code != ErrorCode::ForeignFile;
}

}  // namespace

Status note_what_has_copies(Env& env, const std::filesystem::path& vault, std::vector<Damage>& damage,
                            std::vector<Damage>& notes) {
  std::map<std::string, LostIds> lost;  // of segments of which that can be told
  RecordCopies copies;
  for (const Damage& found : damage) {
    if (!is_of_a_closed_segment(found) || lost.contains(found.file)) continue;
    const auto ids = lost_in_file(env, vault / found.file);
    if (!ids.ok() || !ids->has_value()) continue;
    copies.look_for(**ids);
    lost.emplace(found.file, **ids);
  }
  if (lost.empty()) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env.list(vault / kSegmentFiles.name));
  for (const std::string& name : names) {
    if (copies.all_found()) break;
    if (!number_of(name, kSegmentFiles.extension) && !number_of(name, kOpenSegmentExtension)) continue;
    const auto file = env.open(vault / kSegmentFiles.name / name, OpenMode::read_only);
    if (file.ok()) static_cast<void>(copies.search(**file));  // what can't be read has been told
  }
  std::vector<Damage> kept;
  for (Damage& found : damage) {
    const auto ids = lost.find(found.file);
    const bool is_note = ids != lost.end() && is_of_a_closed_segment(found) &&
                         std::ranges::all_of(ids->second, [&](const ChunkId& id) { return copies.has(id); });
    (is_note ? notes : kept).push_back(std::move(found));
  }
  damage = std::move(kept);
  return ok_status();
}

}  // namespace vaultfs
