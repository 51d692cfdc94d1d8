// Recovery points: how they come, that they stay what they are, and that they come out again.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/files/file_descriptor.h"
#include "fs/restore/restore.h"
#include "tests/simulation/player.h"

namespace vaultfs::sim {
namespace {

// A disk image outside the vault, of two runs of data in a hole.
Bytes image_of(std::uint64_t size, std::uint64_t seed) {
  Bytes image(size);
  const Bytes data = seeded_content(seed + 1, size / 8);
  std::copy(data.begin(), data.end(), image.begin() + static_cast<std::ptrdiff_t>(size / 16));
  std::copy(data.begin(), data.end(), image.begin() + static_cast<std::ptrdiff_t>(size / 2));
  return image;
}

// An open file that has these bytes, always with the same times.
FileDescriptor file_of(const Bytes& bytes) {
  FileDescriptor file(::memfd_create("simulated disk", MFD_CLOEXEC));
  if (!file.valid() || ::ftruncate(file.get(), static_cast<off_t>(bytes.size())) != 0) std::abort();
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::pwrite(file.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (n <= 0) std::abort();
    done += static_cast<std::size_t>(n);
  }
  constexpr struct timespec kTimes[2] = {{1'600'000'000, 0}, {1'600'000'000, 0}};
  if (::futimens(file.get(), kTimes) != 0) std::abort();
  return file;
}

}  // namespace

void Player::attempt_all() {
  if (world_.engine == nullptr) return;
  for (const std::string& item : model_.names().items) model_.attempt(item, model_.item_now(item));
}

Result<ItemContent> Player::read_point(VaultEngine& from, const PointInfo& point) {
  InodeNumber root;
  VAULTFS_ASSIGN_OR_RETURN(const std::shared_ptr<FileTree> tree, from.open_point(point, root));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, tree->list(root));
  ItemContent content;
  for (const DirectoryEntry& entry : entries) {
    VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, tree->attributes(entry.number));
    Bytes bytes(attributes.size);
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t got, tree->read(entry.number, 0, bytes));
    if (got != bytes.size()) throw Finding("points", "a short read of a recovery point");
    content[entry.name] = std::make_shared<const Bytes>(std::move(bytes));
  }
  return content;
}

void Player::check_points(VaultEngine& from, bool all, bool new_ones_only) {
  const std::vector<PointInfo> points = from.vault().catalogue().points();
  std::set<std::uint64_t> there;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const PointInfo& point = points[i];
    const std::uint64_t number = point.number.value;
    there.insert(number);
    const auto known = model_.points().find(number);
    // The newest ones, and of the others each in its turn.
    const bool in_turn = (number + log_.size()) % 4 == 0 || i + 2 >= points.size();
    if (known != model_.points().end() && (new_ones_only || (!all && !in_turn))) continue;
    const auto content = read_point(from, point);
    if (!judge("point", content)) continue;
    if (known == model_.points().end()) {
      model_.adopt_point(number, point.item, *content);
    } else if (!same_content(*content, known->second.content)) {
      throw Finding("points", "point " + std::to_string(number) + " is not what was committed");
    }
  }
  for (const auto& [number, point] : model_.points()) {
    if (!there.contains(number)) throw Finding("points", "point " + std::to_string(number) + " is gone");
  }
}

void Player::completed(const std::string& item, const CommitOutcome& outcome) {
  if (outcome.job.state != JobState::completed && outcome.job.state != JobState::completed_no_change) {
    throw Finding("honesty", "a commit succeeded and its job did not complete");
  }
  const ItemContent now = model_.item_now(item);
  if (outcome.point) {
    check_points(engine(), false);
    if (!model_.points().contains(outcome.point->number.value)) {
      throw Finding("points", "the catalogue does not have the point that a commit tells of");
    }
    // What is published beside may be newer than what the commit was asked for.
    if (beside_ == nullptr && !same_content(model_.points().at(outcome.point->number.value).content, now)) {
      throw Finding("points", "the point of a commit does not have what the item has");
    }
  } else {
    check_points(engine(), false, true);
    const std::vector<PointInfo> points = engine().vault().catalogue().points_of(item);
    if (points.empty()) throw Finding("points", "a commit found no change, and there is no point");
    if (!same_content(model_.points().at(points.back().number.value).content, now)) {
      throw Finding("points", "a commit found no change, and the newest point has something else");
    }
  }
}

void Player::commit(const std::string& item) {
  if (!ensure_open() || !resolve()) return;
  if (!model_.names().items.contains(item)) return;
  model_.attempt(item, model_.item_now(item));
  owing_.clear();
  const auto outcome = engine().commit(item);
  if (judge("committed", outcome)) completed(item, *outcome);
  look_at_keys();
}

void Player::backup(const Operation& operation) {
  if (!ensure_open() || !resolve()) return;
  const std::string item = kItems.at(operation.a);
  const std::string file = kFiles.at(operation.b);
  Bytes image = image_of(operation.c, operation.d);
  const FileDescriptor source = file_of(image);
  BackupRequest request;
  request.item = item;
  request.disks = {{file, "image", source.get()}};
  Names after = model_.names();
  ItemContent content = model_.item_now(item);
  content[file] = std::make_shared<const Bytes>(image);
  model_.attempt(item, std::move(content));
  // It puts another file in the place of the disk; where there was none, its size may come later than its name.
  Names item_only = after;
  item_only.items.insert(item);
  after = item_only;
  const bool replaces = after.files.contains({item, file});
  const std::uint64_t made = model_.new_file(replaces ? image : Bytes());
  model_.content(made).apply({ContentChange::Kind::whole, 0, 0, true, std::make_shared<const Bytes>(std::move(image))});
  after.files[{item, file}] = made;
  model_.set_names(item_only);
  owing_.clear();
  const auto outcome = engine().backup(request, nullptr);
  names_changed("backed up", std::move(after), outcome.ok() ? ok_status() : Status(outcome.error()));
  if (outcome.ok()) {
    completed(item, outcome->commit);
    look_at(item, file);
  } else if (world_.engine != nullptr && !world_.env.failure_reached()) {
    kill();  // whether the disk is in place can't be told by its name
  }
  look_at_keys();
}

void Player::restore(std::uint64_t which) {
  if (!ensure_open()) return;
  const std::vector<PointInfo> points = engine().vault().catalogue().points();
  if (points.empty()) return;
  const PointInfo& point = points[points.size() - 1 - which % points.size()];
  const auto known = model_.points().find(point.number.value);
  if (known == model_.points().end() || known->second.content.empty()) return;
  if (scratch_ == nullptr) scratch_ = std::make_unique<ScratchDirectory>();
  const auto& [name, bytes] = *known->second.content.begin();
  RestoreRequest request;
  request.item = point.item;
  request.point = point.id();
  request.disk = name;
  request.to = *scratch_ / "restored";
  request.force = true;
  const auto outcome = vaultfs::restore(engine().vault(), request, nullptr);
  if (!judge("restored", outcome)) return;
  std::ifstream file(request.to, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!bytes_equal(bytes_of(text), *bytes)) throw Finding("points", "a restore gives something else");
}

void Player::reencrypt(bool without_grace) {
  if (!ensure_open()) return;
  const auto outcome = engine().reencrypt({0, without_grace}, nullptr);
  if (!judge("re-encrypted", outcome)) return;
  if (outcome->damaged_records != 0) throw Finding("honesty", "a re-encryption found damage");
  if (without_grace && outcome->left_segments + outcome->waiting_segments != 0) {
    throw Finding("space", "a re-encryption without grace left " +
                               std::to_string(outcome->left_segments + outcome->waiting_segments) + " old segments");
  }
  check_points(engine(), false);
}

void Player::look_for_leaks() const {
  std::vector<std::string> wanted(kItems.begin(), kItems.end());
  wanted.insert(wanted.end(), kFiles.begin(), kFiles.end());
  constexpr std::size_t kSampleBytes = 16;
  for (const auto& [name, file] : model_.names().files) {
    const std::string_view content = text_of(model_.content(file).now());
    const std::size_t at = std::min(content.find_first_not_of('\0'), content.size());
    const std::string_view sample = content.substr(at, kSampleBytes);
    // Where little of it is not zero, it may stand anywhere.
    if (std::ranges::count(sample, '\0') <= 2) wanted.emplace_back(sample);
  }
  std::erase_if(wanted, [](const std::string& text) { return text.size() < kSampleBytes; });
  for (const Env::Path& path : world_.env.files("/")) {
    const std::shared_ptr<const Bytes> bytes = world_.env.share(path);
    for (const std::string& text : wanted) {
      if (text_of(*bytes).find(text) == std::string_view::npos) continue;
      throw Finding("leaks", path.string() + " shows a name, or what is in a file");
    }
  }
}

void Player::verify() {
  if (!ensure_open()) return;
  for (Vault* vault : {&engine().vault(), static_cast<Vault*>(nullptr)}) {
    const auto report = verify_vault(world_.env, kVaultPath, vault, nullptr);
    if (!judge("verified", report)) continue;
    // A engine that met a fault may leave behind what the next opening heals.
    if (disturbed_ || report->damage.empty()) continue;
    throw Finding("honesty", "verify finds damage where there is none: " + report->damage.front().file + ": " +
                                 std::string(error_name(report->damage.front().error.code)) + ": " +
                                 report->damage.front().error.message);
  }
}

}  // namespace vaultfs::sim
