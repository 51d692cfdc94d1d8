#include "tools/api/vault_overview.h"

#include <algorithm>

#include "vaultmeta/layout/space_reserve.h"
#include "vaultmeta/vault/encryption_status.h"

namespace vaultfs {
namespace {

std::optional<ReserveOverview> reserve_of(Vault& vault) {
  SpaceReserve* reserve = vault.space_reserve();
  if (reserve == nullptr) return std::nullopt;
  const SpaceReserve::State state = reserve->state();
  return ReserveOverview{state.bytes, state.files, state.whole, reserve->spent()};
}

std::vector<ItemOverview> items_of(VaultEngine& engine) {
  Catalogue& catalogue = engine.vault().catalogue();
  const std::vector<std::string> present = engine.tree().item_names();
  std::vector<ItemOverview> items;
  for (const ItemInfo& item : catalogue.items()) {
    const std::vector<PointInfo> points = catalogue.points_of(item.name);
    // One of which nothing came, or nothing is left, is none.
    const bool is_there = std::ranges::find(present, item.name) != present.end();
    if (!is_there && points.empty()) continue;
    const auto unproven = std::ranges::count_if(points, [](const PointInfo& one) { return one.unproven; });
    items.push_back({item, points.size(), static_cast<std::uint64_t>(unproven)});
  }
  return items;
}

}  // namespace

VaultOverview vault_overview(const RequestContext& context) {
  Vault& vault = context.engine.vault();
  VaultOverview overview;
  overview.header = vault.header();
  overview.path = vault.path();
  overview.mounted_on = context.mount_point;
  overview.read_only = vault.read_only();
  overview.items = items_of(context.engine);
  overview.encryption = encryption_status(vault);
  overview.tree = context.engine.tree().statistics();
  overview.stored_bytes = vault.segments().stored_bytes();
  overview.chunks = vault.segments().chunk_count();
  overview.damaged_chunks = vault.catalogue().damage_count();
  overview.reserve = reserve_of(vault);
  overview.key_exports = key_exports(context.machine, overview.encryption);
  overview.notes = vault.opening_notes();
  return overview;
}

EncryptionOverview encryption_overview(Vault& vault) {
  EncryptionOverview overview{encryption_status(vault), {}};
  const EncryptionStatus& status = overview.status;
  std::vector<EpochUse> uses = vault.segments().epochs();
  const auto has_current = [&](const EpochUse& use) { return use.epoch == status.current_epoch; };
  if (std::ranges::none_of(uses, has_current)) uses.push_back({status.current_epoch, 0, 0});
  for (const EpochUse& use : uses) {
    EpochOverview epoch{use, {}};
    for (const VersionRecord& version : status.versions) {
      const bool read =
          version.first_epoch <= use.epoch && (version.last_epoch.value == 0 || use.epoch <= version.last_epoch);
      if (read) epoch.versions.push_back(version.version);
    }
    overview.epochs.push_back(std::move(epoch));
  }
  return overview;
}

}  // namespace vaultfs
