#include "tools/api/damage_requests.h"

#include <algorithm>

#include "base/thread/mutex.h"
#include "fs/tree/content.h"

namespace vaultfs {

Result<VerifyAnswer> verify_and_remember(const RequestContext& context, bool keyless) {
  Vault& vault = context.engine.vault();
  // A segment that is compacted away between the look and the read would pass for damage.
  const ReaderLock references(vault.segments().long_uses());
  const std::uint64_t total = vault.segments().stored_bytes();
  WorkingTree& tree = context.engine.tree();
  VerifyAnswer answer;
  VAULTFS_ASSIGN_OR_RETURN(answer.report, verify_vault(
                                              vault.env(), vault.path(), keyless ? nullptr : &vault,
                                              [&](const VerifyCounts& counts) {
                                                return context.progress({counts.bytes, std::max(total, counts.bytes)});
                                              },
                                              [&tree](const ContentLook& look, const LossTeller& tell) {
                                                return look_through_tree(tree, look, tell);
                                              }));
  if (keyless) return answer;
  const VerifyReport& report = answer.report;
  answer.known_damage = vault.catalogue().damage_count();
  const bool of_interest = !report.damage.empty() || !report.notes.empty() || *answer.known_damage > 0;
  if (vault.read_only() || !of_interest) return answer;
  auto examined = vault.examine_damage(report.damaged_segments);
  if (examined.ok()) {
    answer.examined = *examined;
  } else {
    answer.not_remembered = std::move(examined).error();
  }
  return answer;
}

Result<ExaminedDamage> examine_segments(Vault& vault, const std::set<ContainerNumber>& segments) {
  const ReaderLock references(vault.segments().long_uses());
  return vault.examine_damage(segments);
}

}  // namespace vaultfs
