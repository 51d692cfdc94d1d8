// Attacks on the vault at rest: who kept an older copy, who went on from one elsewhere, who has the storage. None of
// them changes what the owner reads; what they can do is destroy, which is told.
#include <algorithm>
#include <random>
#include <utility>

#include "tests/simulation/player.h"

namespace vaultfs::sim {
namespace {

constexpr std::size_t kMostCopies = 3;

// What an opening or a reading may say of a vault that somebody has changed.
bool tells_of_it(ErrorCode code) {
  if (is_integrity_error(code)) return true;
  constexpr int kNotAVaultExit = 7;
  constexpr int kUnverifiedExit = 12;
  constexpr int kFirstKeyExit = 20;
  constexpr int kLastKeyExit = 22;
  const int exit_code = error_exit_code(code);
  // An older keyring may want a version that is disabled by now.
  return exit_code == kNotAVaultExit || exit_code == kUnverifiedExit || code == ErrorCode::VaultNotFound ||
         (exit_code >= kFirstKeyExit && exit_code <= kLastKeyExit);
}

std::uint64_t highest_head(const World::Files& vault) {
  std::uint64_t highest = 0;
  for (const auto& [path, bytes] : vault) {
    if (path.extension() == ".head")
      highest = std::max<std::uint64_t>(highest, std::stoull(path.stem().string(), nullptr, 16));
  }
  return highest;
}

// Files that hold something of the vault: not its lock.
std::vector<Env::Path> targets(const World::Files& vault) {
  std::vector<Env::Path> paths;
  for (const auto& [path, bytes] : vault) {
    if (path.extension() != ".lock" && path.extension() != ".hold" && !bytes->empty()) paths.push_back(path);
  }
  return paths;
}

}  // namespace

Player::Copy Player::take_copy() const {
  Copy copy;
  for (auto& [path, bytes] : world_.files("/")) {
    (path.string().starts_with(std::string(kVaultPath) + "/") ? copy.vault : copy.homes)[path] = bytes;
  }
  copy.heads = highest_head(copy.vault);
  return copy;
}

void Player::attack(const Operation& operation) {
  if (operation.kind == Kind::keep_copy) {
    if (copies_.size() == kMostCopies) copies_.erase(copies_.begin());
    copies_.push_back(take_copy());
    return;
  }
  // From a clean end on there is nothing that no head vouches for. The end before it may have made points.
  if (keys_are_away() || full_) return;
  for (int round = 0; round < 2; ++round) {
    if (!ensure_open()) return;
    close();
  }
  if (world_.engine != nullptr || world_.env.failure_reached() || disturbed_ || model_.uncertain()) return;
  world_.env.clear_faults();
  armed_ = false;
  breakage_.reset();
  const Copy whole = take_copy();
  world_.numbers.pause(true);
  const bool spoilt = spoil(operation);
  if (spoilt) {
    const bool older = operation.kind == Kind::old_copy && copies_[operation.a % copies_.size()].heads < whole.heads;
    examine(operation.text(), older);
  }
  put_back(whole);
  world_.numbers.pause(false);
  disturbed_ = false;
}

void Player::put_back(const Copy& copy) {
  world_.drop_session();
  world_.put_back(copy.vault);
  for (std::size_t machine = 0; machine < kMachines; ++machine) {
    world_.put_back(copy.homes, "/home" + std::to_string(machine));
  }
  world_.env.kill_process();  // locks of readers
  world_.restart_machines();
}

void Player::examine_copy(const std::string& what, const Copy& copy, const World::Files& vault) {
  world_.numbers.pause(true);
  put_back(copy);
  world_.put_back(vault);
  note_.clear();
  examine(what, false);
  put_back(copy);
  world_.numbers.pause(false);
}

bool Player::spoil(const Operation& operation) {
  World::Files vault = world_.files();
  const std::vector<Env::Path> paths = targets(vault);
  std::mt19937_64 random(operation.a);
  const auto any = [&]() -> const Env::Path& { return paths[random() % paths.size()]; };
  switch (operation.kind) {
    case Kind::old_copy:
      if (copies_.empty()) return false;
      world_.put_back(copies_[operation.a % copies_.size()].vault);
      return true;
    case Kind::old_file: {
      if (copies_.empty()) return false;
      const Copy& copy = copies_[operation.b % copies_.size()];
      const std::vector<Env::Path> old = targets(copy.vault);
      const Env::Path& path = old[random() % old.size()];
      world_.env.put_back(path, copy.vault.at(path));
      note(path.filename().string());
      return true;
    }
    case Kind::branch:
      return !copies_.empty() && go_on_elsewhere(copies_[operation.a % copies_.size()], operation.b);
    case Kind::exchange: {
      const Env::Path& one = any();
      const Env::Path& other = any();
      if (one == other || one.parent_path() != other.parent_path()) return false;
      world_.env.put_back(one, vault.at(other));
      world_.env.put_back(other, vault.at(one));
      note(one.filename().string() + " and " + other.filename().string());
      return true;
    }
    case Kind::rot:
      for (std::uint64_t i = 0; i < operation.b; ++i) {
        const Env::Path& path = any();
        world_.env.flip_bit(path, random() % (vault.at(path)->size() * 8));
        note(path.parent_path().filename().string() + "/" + path.filename().string());
      }
      return true;
    case Kind::lose: {
      const Env::Path& path = any();
      world_.env.remove(path);
      note(path.filename().string());
      return true;
    }
    case Kind::cut: {
      const Env::Path& path = any();
      world_.env.cut(path, random() % vault.at(path)->size());
      note(path.filename().string());
      return true;
    }
    case Kind::plant: {
      const Env::Path& path = any();
      const std::string name = path.filename().string();
      if (name.size() < 17) return false;
      const Env::Path planted = path.parent_path() / (name.substr(0, 15) + "f" + name.substr(16));
      if (planted != path) world_.env.put_back(planted, vault.at(path));
      note(planted.filename().string());
      return true;
    }
    default:
      return false;
  }
}

bool Player::go_on_elsewhere(const Copy& copy, std::uint64_t seed) {
  const World::Files mine = world_.files("/");
  const Env::Path home = "/home" + std::to_string(world_.current_machine);
  world_.put_back(copy.vault);
  world_.put_back(copy.homes, home);
  world_.restart_machines();
  bool done = false;
  if (world_.open().ok()) {
    // Somebody who had all that the owner had then goes on in his own way.
    auto item = tree().lookup(kRootInode, kItems[0]);
    if (!item.ok()) item = tree().make_directory(kRootInode, kItems[0], 0755, {});
    const std::string name = kFiles.at(seed % kFiles.size());
    auto file = item.ok() ? tree().lookup(item->number, name) : item;
    if (item.ok() && !file.ok()) file = tree().make_node(item->number, name, InodeType::file, 0644, 0, {});
    constexpr std::size_t kTheirBytes = 5000;
    done = file.ok() && tree().write(file->number, 0, 0, seeded_content(seed + 1, kTheirBytes)).ok() &&
           engine().commit(kItems[0]).ok();
    done = engine().close().ok() && done;
  }
  world_.drop_session();
  world_.put_back(mine, home);
  world_.restart_machines();
  return done;
}

void Player::examine(const std::string& what, bool whole_older_copy) {
  const World::Files spoilt = world_.files("/");
  const Env::Path home = "/home" + std::to_string(world_.current_machine);
  for (const bool as_owner : {false, true}) {
    world_.put_back(spoilt);
    world_.put_back(spoilt, home);
    world_.env.kill_process();
    world_.restart_machines();
    auto options = world_.options(!as_owner);
    options.vault.points_suffice = !as_owner;
    auto opened = VaultEngine::open(world_.machine(world_.current_machine), options);
    if (!opened.ok()) {
      note(std::string(as_owner ? "owner " : "reader ") + std::string(error_name(opened.code())));
      if (!tells_of_it(opened.code())) {
        throw Finding("history", what + ": opening says " + std::string(error_name(opened.code())) + ": " +
                                     opened.error().message);
      }
      if (whole_older_copy && as_owner && error_exit_code(opened.code()) == 10) continue;
      continue;
    }
    note(as_owner ? "owner opened" : "reader opened");
    if (whole_older_copy) throw Finding("history", what + ": an older copy was opened without a word");
    examine_session(what, **opened);
    // What it says must have a name; that it says so of everything is for the tests of verify.
    const auto report = verify_vault(world_.env, kVaultPath, &(*opened)->vault(), nullptr);
    if (!report.ok() && !tells_of_it(report.code())) {
      throw Finding("integrity", what + ": verify says " + std::string(error_name(report.code())));
    }
  }
}

void Player::examine_session(const std::string& what, VaultEngine& from) {
  Vault& vault = from.vault();
  const auto wrong = [&](const std::string& text) { throw Finding("integrity", what + ": " + text); };
  const auto told = [&](const auto& result) {
    if (!tells_of_it(result.code())) wrong("reading says " + std::string(error_name(result.code())));
  };
  // A reader that had to do without the newest state says so; its tree is an older one, or none.
  if (!vault.history_damage()) {
    for (const auto& [name, file] : model_.names().files) {
      const auto item = from.tree().lookup(kRootInode, name.first);
      if (!item.ok()) wrong(name.first + " is not there");
      const auto found = from.tree().lookup(item->number, name.second);
      if (!found.ok()) wrong(name.second + " is not there");
      Bytes seen(found->size);
      const auto got = from.tree().read(found->number, 0, seen);
      if (!got.ok()) {
        told(got);
      } else if (const auto objection = model_.content(file).objection(seen)) {
        wrong(name.second + " shows something else: " + *objection);
      }
    }
  }
  for (const auto& [number, known] : model_.points()) {
    const auto point = vault.catalogue().point(PointNumber(number));
    if (!point) {
      if (!vault.points_in_doubt()) wrong("point " + std::to_string(number) + " is not there, without a word");
      continue;
    }
    const auto content = read_point(from, *point);
    if (!content.ok()) {
      told(content);
    } else if (!std::ranges::equal(*content, known.content, [](const auto& a, const auto& b) {
                 return a.first == b.first && bytes_equal(*a.second, *b.second);
               })) {
      wrong("point " + std::to_string(number) + " shows something else");
    }
  }
  for (const PointInfo& point : vault.catalogue().points()) {
    if (model_.points().contains(point.number.value)) continue;
    const auto content = read_point(from, point);
    if (content.ok()) wrong("there is a point that nobody made");
  }
}

}  // namespace vaultfs::sim
