#include "vaultmeta/layout/space_reserve.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

namespace vaultfs {
namespace {

constexpr std::string_view kReservePrefix = "reserve-";
// Programs that know of no reserve take the files for unfinished writes: their readers pass over them, their owners
// remove them.
constexpr std::string_view kReserveSuffix = ".tmp";
// No file of the reserve: what a crash leaves of it is removed by the next owner.
constexpr const char* kTrialFileName = "reserve.tmp";
constexpr std::uint64_t kMiB = 1ULL << 20;
constexpr std::uint64_t kRoundBytes = 64ULL << 10;
// What stays free beside the reserve, so that what was given up is not taken back to be given up again at once.
constexpr std::uint64_t kBytesLeft = 4 * kMiB;
constexpr std::uint64_t kFilesLeft = 16;
constexpr std::size_t kMostNews = 100;

std::string mebibytes(std::uint64_t bytes) { return std::to_string(bytes / kMiB) + " MiB"; }

}  // namespace

bool SpaceReserve::is_file(std::string_view name) {
  if (!name.starts_with(kReservePrefix) || !name.ends_with(kReserveSuffix)) return false;
  const std::string_view digits =
      name.substr(kReservePrefix.size(), name.size() - kReservePrefix.size() - kReserveSuffix.size());
  return digits.size() == 2 && std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
}

Env::Path SpaceReserve::path_of(unsigned number) const {
  std::string digits = std::to_string(number);
  if (digits.size() < 2) digits.insert(0, "0");
  return directory_ / (std::string(kReservePrefix) + digits + std::string(kReserveSuffix));
}

void SpaceReserve::attach(Env& env, Env::Path directory) {
  env_ = &env;
  directory_ = std::move(directory);
}

void SpaceReserve::look() {
  if (std::exchange(looked_, true)) return;
  held_.assign(kFiles, 0);
  there_.assign(kFiles, false);
  for (unsigned number = 0; number < kFiles && env_ != nullptr; ++number) {
    const auto info = env_->info(path_of(number));
    if (!info.ok() || info->kind != FileKind::file) continue;
    there_[number] = true;
    // A copy may be sparse: only what takes room on the disk gives any back.
    held_[number] = std::min(info->stored_bytes, info->size);
  }
  tell_state();
}

SpaceReserve::State SpaceReserve::state_now() const {
  State state;
  state.bytes = std::accumulate(held_.begin(), held_.end(), std::uint64_t{0});
  state.wanted_bytes = wanted_bytes_;
  state.files = static_cast<unsigned>(std::ranges::count(there_, true));
  state.whole = state.files == kFiles && state.bytes >= std::max(wanted_bytes_, kLeastBytes);
  return state;
}

void SpaceReserve::tell_state() {
  const MutexLock lock(state_mutex_);
  state_ = state_now();
}

SpaceReserve::State SpaceReserve::state() {
  {
    const MutexLock lock(state_mutex_);
    if (state_.has_value()) return *state_;
  }
  const MutexLock lock(mutex_);
  look();
  return state_now();
}

Status SpaceReserve::write_noise(File& file, std::uint64_t bytes) {
  // A file system that compresses, or finds equal blocks, would take no room for anything simpler.
  Bytes noise(static_cast<std::size_t>(std::min(bytes, kMiB)));
  for (std::uint64_t at = 0; at < bytes; at += noise.size()) {
    env_->fill_random(noise);
    const ByteView piece = ByteView(noise).first(std::min<std::uint64_t>(noise.size(), bytes - at));
    VAULTFS_RETURN_IF_ERROR(file.write_at(at, piece));
  }
  return file.sync();
}

Status SpaceReserve::take_room(const Env::Path& path, std::uint64_t bytes) {
  VAULTFS_ASSIGN_OR_RETURN(const auto file, env_->open(path, OpenMode::create_exclusive));
  // Nothing is synced: what a crash takes is made again.
  Status made = file->allocate(bytes);
  const bool full = !made.ok() && made.code() == ErrorCode::NoSpace;
  const auto info = file->info();
  const bool holds = made.ok() && info.ok() && info->stored_bytes >= bytes;
  if (!full && !holds) made = write_noise(*file, bytes);
  if (!made.ok()) static_cast<void>(env_->remove_file(path));
  return made;
}

Status SpaceReserve::make(unsigned number, std::uint64_t bytes) {
  const Env::Path path = path_of(number);
  if (there_[number]) {
    VAULTFS_RETURN_IF_ERROR(env_->remove_file(path));
    there_[number] = false;
    held_[number] = 0;
    tell_state();
  }
  VAULTFS_RETURN_IF_ERROR(take_room(path, bytes));
  there_[number] = true;
  held_[number] = bytes;
  tell_state();
  return ok_status();
}

bool SpaceReserve::has_room_besides() {
  const Env::Path path = directory_ / kTrialFileName;
  static_cast<void>(env_->remove_file(path));  // of a crash
  if (!take_room(path, kBytesLeft).ok()) return false;
  return env_->remove_file(path).ok();
}

void SpaceReserve::fill_to(std::uint64_t bytes) {
  look();
  wanted_bytes_ = std::clamp(bytes, kLeastBytes, kMostBytes);
  tell_state();
  const std::uint64_t each = (wanted_bytes_ / kFiles + kRoundBytes - 1) / kRoundBytes * kRoundBytes;
  for (unsigned number = 0; number < kFiles; ++number) {
    if (there_[number] && held_[number] >= each) continue;
    const auto space = env_->free_space(directory_);
    if (!space.ok() || space->bytes < each + kBytesLeft || space->files < kFilesLeft) return;
    // Where something else has the name, or can't be removed, there is one file less.
    if (const Status made = make(number, each); !made.ok() && made.code() == ErrorCode::NoSpace) return;
  }
  if (!spent_.load() || !has_room_besides()) return;
  spent_ = false;
  if (news_.size() < kMostNews) {
    news_.push_back("the reserve of " + mebibytes(wanted_bytes_) + " on the vault's disk is whole again");
  }
}

void SpaceReserve::fill(std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  if (env_ != nullptr) fill_to(bytes);
}

void SpaceReserve::fill_again() {
  const MutexLock lock(mutex_);
  if (env_ != nullptr && wanted_bytes_ != 0) fill_to(wanted_bytes_);
}

bool SpaceReserve::give_up(For purpose) {
  if (purpose == For::nothing || env_ == nullptr) return false;
  if (purpose == For::content && content_uses_->load() == 0) return false;
  const MutexLock lock(mutex_);
  look();
  const auto left = static_cast<unsigned>(std::ranges::count(there_, true));
  if (purpose == For::content && left <= kFiles / 2) return false;
  if (left == 0) {
    // Of an owner's who keeps one.
    if (wanted_bytes_ != 0) spent_ = true;
    return false;
  }
  for (unsigned number = kFiles; number-- > 0;) {
    if (!there_[number]) continue;
    const Status removed = env_->remove_file(path_of(number));
    if (!removed.ok() && removed.code() != ErrorCode::NotFound) return false;
    there_[number] = false;
    held_[number] = 0;
    tell_state();
    break;
  }
  if (!spent_.exchange(true) && news_.size() < kMostNews) {
    news_.push_back(
        "the vault's disk (or a quota) has no room left: the reserve is being used for what must work, and new content "
        "is refused; free space there");
  }
  return true;
}

std::vector<std::string> SpaceReserve::take_news() {
  const MutexLock lock(mutex_);
  return std::exchange(news_, {});
}

}  // namespace vaultfs
