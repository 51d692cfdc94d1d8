// Sessions: how they begin, how they end, and what must be there afterwards.
#include <algorithm>
#include <utility>

#include "fs/backup/backup_run.h"
#include "tests/simulation/player.h"

namespace vaultfs::sim {

Result<Model::Seen> Player::read_tree(FileTree& tree) {
  Model::Seen seen;
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> items, tree.list(kRootInode));
  for (const DirectoryEntry& item : items) {
    seen.items.insert(item.name);
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> files, tree.list(item.number));
    for (const DirectoryEntry& file : files) {
      // What a backup run that was cut off has left: the next one removes it.
      if (file.name.starts_with(kImportPrefix)) continue;
      VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, tree.attributes(file.number));
      Bytes bytes(attributes.size);
      VAULTFS_ASSIGN_OR_RETURN(const std::size_t got, tree.read(file.number, 0, bytes));
      if (got != bytes.size()) throw Finding("content", "a short read of " + file.name);
      seen.files[{item.name, file.name}] = std::move(bytes);
    }
  }
  return seen;
}

bool Player::ensure_open() {
  if (world_.engine != nullptr) return true;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const Status opened = world_.open();
    if (!world_.trusted.at(world_.current_machine)) {
      if (opened.ok()) throw Finding("history", "a machine without a pin opened the vault as owner");
      if (opened.code() != ErrorCode::VaultUnverified && judge("open", opened)) return false;
      if (!trust(world_.current_machine)) return false;
      continue;
    }
    if (!judge("open", opened)) {
      world_.drop_session();
      return false;
    }
    check_opened();
    return true;
  }
  return false;
}

bool Player::trust(std::size_t number) {
  const auto pin = trust_vault(world_.machine(number), kVaultPath, fingerprint_, false);
  if (!judge("trust", pin)) return false;
  world_.trusted.at(number) = true;
  return true;
}

void Player::check_opened() {
  auto seen = read_tree(tree());
  if (!judge("read all", seen)) return;
  const std::size_t state = model_.check_allowed("durability", *seen);
  model_.settle(state, *std::move(seen));
  attempt_all();  // a timer may have committed it by now
  for (const JobInfo& job : engine().vault().catalogue().jobs()) {
    if (job.state == JobState::in_progress) {
      throw Finding("honesty", "job " + std::to_string(job.number.value) + " of before is in progress");
    }
  }
  check_points(engine(), false);
  model_.forget_attempts();
  for (const std::string& item : owed_points_) {
    if (!model_.newest_point_has(item, model_.item_now(item))) {
      throw Finding("points", "a engine ended well, and the newest point lacks what was changed in " + item);
    }
  }
  owed_points_.clear();
  changed_.clear();
  look_at_keys();
}

void Player::after_session() {
  disturbed_ = full_ || armed_;
  if (const auto reused = records_.look(world_.env, kVaultPath)) throw Finding("nonces", *reused);
}

void Player::close() {
  if (world_.engine == nullptr) return;
  static_cast<void>(resolve());
  attempt_all();
  owing_.clear();  // jobs that run are committed, where that succeeds
  const bool healthy = !disturbed_ && !breakage_;
  if (judge("close", engine().close()) && !model_.uncertain()) {
    model_.all_durable();
    if (healthy && !world_.env.failure_reached()) owed_points_ = changed_;
  }
  world_.drop_session();
  if (world_.env.failure_reached()) return;  // the power goes next
  after_session();
}

void Player::kill() {
  world_.kill();
  armed_ = false;
  breakage_.reset();
  after_session();
}

void Player::power_loss(std::uint64_t mode, std::uint64_t seed) {
  if (const auto reused = records_.look(world_.env, kVaultPath)) throw Finding("nonces", *reused);
  constexpr std::array kModes{CrashMode::drop_all_unsynced, CrashMode::keep_all, CrashMode::random};
  world_.lose_power(seed, kModes.at(mode % kModes.size()));
  note("power lost");
  armed_ = false;
  breakage_.reset();
  after_session();
  static_cast<void>(ensure_open());
}

void Player::reader(std::size_t machine) {
  const auto opened = world_.open_reader(machine);
  if (!world_.trusted.at(machine)) {
    if (opened.ok()) throw Finding("history", "a machine without a pin read the vault");
    if (opened.code() != ErrorCode::VaultUnverified) static_cast<void>(judge("reader", opened));
    return;
  }
  if (!judge("reader", opened)) return;
  const auto seen = read_tree((*opened)->tree());
  if (!judge("read", seen)) return;
  static_cast<void>(model_.check_allowed("readers", *seen));
  for (const auto& [number, point] : model_.points()) {
    if (!(*opened)->vault().catalogue().point(PointNumber(number))) {
      throw Finding("readers", "a reader does not have point " + std::to_string(number));
    }
  }
  static_cast<void>(judge("reader leaves", (*opened)->close()));
}

void Player::second_owner() {
  if (world_.engine == nullptr) return;
  const auto second = VaultEngine::open(world_.machine(world_.current_machine), world_.options(false));
  if (second.ok()) throw Finding("one owner", "a second owner opened the vault");
  note("refused " + std::string(error_name(second.code())));
  if (second.code() != ErrorCode::VaultBusy) static_cast<void>(judge("second owner", second));
}

void Player::use_machine(std::size_t number) {
  if (number >= kMachines || number == world_.current_machine) return;
  if (!ensure_open()) return;
  close();
  if (world_.engine != nullptr || world_.env.failure_reached()) return;
  // Its people compare the fingerprint that the other one shows: of the vault as it is now.
  const auto shown = world_.open_reader(world_.current_machine);
  if (!judge("shown", shown)) return;
  fingerprint_ = (*shown)->vault().custody().status().fingerprint;
  static_cast<void>(judge("reader leaves", (*shown)->close()));
  world_.current_machine = number;
}

}  // namespace vaultfs::sim
