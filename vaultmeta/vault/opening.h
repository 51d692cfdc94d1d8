#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "vaultmeta/catalogue/checkpoint.h"
#include "vaultmeta/vault/opened_vault.h"

namespace vaultfs {

// Takes VAULT/vault.lock, asking again for up to `wait_seconds`, and notes this process in it. VaultBusy names the
// owner if it can.
[[nodiscard]] Result<std::unique_ptr<FileLock>> take_vault_lock(Env& env, const std::filesystem::path& path,
                                                                std::int64_t wait_seconds);

// Keeps the owner from removing segments as long as the lock lives. Null where that can't be had (an old copy, a medium
// without locks, a file that is not the vault's own, a compaction of more than 10 s under way): what is read may be
// gone then.
[[nodiscard]] std::unique_ptr<FileLock> hold_segments(Env& env, const std::filesystem::path& path);

// NotAVault, ForeignFile, DamagedHeader, UnsupportedFormat. `digest` gets the file's SHA-256. REQUIRES: the directory
// is open.
[[nodiscard]] Result<VaultHeader> read_vault_header(VaultDirectory& directory, Digest& digest);
// Without its digest, of a directory that is not open yet; VaultNotFound besides.
[[nodiscard]] Result<VaultHeader> look_at_vault_header(Env& env, const std::filesystem::path& path);

// For openings that want keys and heads only: the tree's part is read and left alone.
class TreeLeftAlone final : public TreeReplay {
 public:
  Status load(ByteView) override { return ok_status(); }
  Status apply(Lsn, ByteView) override { return ok_status(); }
};

// Puts the vault on this machine's list, in the place of what the list says of it.
[[nodiscard]] Status register_opened(const Vault::Machine& machine, Vault& vault);

// One opening of a vault, step by step.
//
// Nothing that is read is believed before it is authenticated, and each step rests on the one before: pin → root key →
// heads → keyring and checkpoint → journal. As owner nothing is changed before all of that has been read, but
// directories are synced first: what a killed owner left in the kernel's memory only must not be built upon.
class VaultOpening {
 public:
  // `trusted` takes the place of the machine's pin. With `escrow_key` the keyring is opened by that private key. All of
  // them must outlive the opening.
  VaultOpening(const Vault::Machine& machine, const VaultOpenOptions& options, const std::optional<Pin>& trusted,
               TreeReplay& tree, const RsaKey* escrow_key = nullptr);
  // Of keyrings that could be the newest, one that has this epoch's data key comes first. Before run().
  void prefer(const VaultFingerprint& fingerprint) { preferred_ = fingerprint; }
  [[nodiscard]] Result<std::unique_ptr<OpenedVault>> run();

 private:
  // Refuses a vault that is new where the machine knows others.
  [[nodiscard]] Status find_place();
  [[nodiscard]] Status attempt();
  [[nodiscard]] Status check_trust();
  [[nodiscard]] Status open_keys();
  // What the pin, and a fingerprint that somebody gave, say of the keyring's epochs (trust.cc).
  [[nodiscard]] Status check_epochs();
  [[nodiscard]] Status prepare_directories();
  [[nodiscard]] Status choose_newest_head();
  // Leaves of the heads those that may be this vault's history.
  void sort_out_heads();
  [[nodiscard]] int files_there(const Head& head) const;
  [[nodiscard]] Status open_segments();
  [[nodiscard]] Status load_newest_state();
  void lay_known_damage();
  [[nodiscard]] Status load_state(const Head& head);
  [[nodiscard]] Result<std::optional<Checkpoint>> read_checkpoint(const Head& head);
  [[nodiscard]] Status open_activity(const Head& head);
  // ---- What a read-only opening does where the newest head's state can't be read (fallback.cc) ----
  // Each says whether it went on so. An older head whose state can be; with `same_points` only one that vouches for the
  // same recovery points.
  [[nodiscard]] Result<bool> take_older_head(const Error& reason, bool same_points);
  // What can be read of checkpoint and journal before the damage, and the points that manifests tell of besides;
  // without `unproven` only if they are just the points that the newest head vouches for.
  [[nodiscard]] Result<bool> take_points(const Error& reason, bool unproven);
  // Points of which there are manifests and no word in the catalogue; then which of all heads vouch for. Of these,
  // `known` are named by a catalogue that a head names by its digest.
  [[nodiscard]] Status find_and_prove_points(const std::set<PointNumber>& known, const Error& reason);
  [[nodiscard]] Status add_points_of_manifests();
  // Those of the checkpoint that the head names, as far as the catalogue still has them so.
  [[nodiscard]] std::set<PointNumber> points_of_checkpoint(const Head& head);
  // What of a point is not there, in words; empty: nothing.
  [[nodiscard]] Result<std::string> what_is_missing(const PointInfo& point);
  // Whether all that a point needs lies elsewhere than in what is missing: it has healed since.
  [[nodiscard]] bool is_whole_elsewhere(const PointInfo& point);
  // Notes of points whose files are not all there: a copy that is still being taken, or damage.
  [[nodiscard]] Status tell_incomplete_points();
  [[nodiscard]] Status start_journal();
  [[nodiscard]] Result<std::unique_ptr<OpenedVault>> take_over();
  [[nodiscard]] Status remove_leftovers();
  [[nodiscard]] Status remove_unfinished(const std::filesystem::path& directory);
  // Read-only, and allowed to show less than the newest state.
  [[nodiscard]] bool lenient() const;
  // Read-only, and content with points, also those that nobody vouches for: they are marked.
  [[nodiscard]] bool shows_points() const;

  const VaultOpenOptions& options_;
  const std::optional<Pin>& trusted_;
  TreeReplay& tree_;
  const RsaKey* const escrow_key_;
  VaultParts parts_;
  Digest header_digest_;
  std::optional<Pin> pin_;
  StoredHeads heads_;
  std::vector<Head::Signed> chain_;  // the newest head and those that lead to it
  bool closed_epochs_only_ = false;  // no head is of an epoch that is not closed: whoever held a key version made it
  std::optional<VaultFingerprint> preferred_;
  ContainerNumber replay_from_{1};
  JournalReplay replay_;
  Generation failed_at_;                 // the newest head of the attempt before, if that failed
  std::set<PointNumber> current_epoch_;  // points that were found by manifests under the newest data key
  bool index_rebuilt_ = false;
  bool recovered_ = false;              // the last owner did not close cleanly
  std::uint64_t checkpoint_bytes_ = 0;  // of the file that read_checkpoint() took
};

}  // namespace vaultfs
