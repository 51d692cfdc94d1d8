#include "vaultmeta/layout/vault_directory.h"

#include <cstdlib>
#include <utility>

#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {

Status VaultDirectory::open() {
  asked_ = std::filesystem::absolute(asked_).lexically_normal();
  if (!asked_.has_filename() && asked_ != asked_.root_path()) asked_ = asked_.parent_path();
  VAULTFS_ASSIGN_OR_RETURN(place_, machine_.real_path(asked_));
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, machine_.info(place_));
  if (info.kind == FileKind::missing) {
    return Error{ErrorCode::VaultNotFound, "there is no vault at " + asked_.string()};
  }
  if (info.kind != FileKind::directory) {
    return Error{ErrorCode::NotAVault, asked_.string() + " is not a directory"};
  }
  VAULTFS_ASSIGN_OR_RETURN(held_, machine_.hold_directory(place_));
  reserve_.attach(*held_, place_);
  return ok_status();
}

namespace {

// What is stored in segments can wait for room, and the chunk index is derived. Everything else is a step without which
// nothing is committed, rotated or removed.
SpaceReserve::For purpose_of(const Env::Path& vault, const Env::Path& path) {
  const Env::Path folder = path.parent_path();
  if (folder == vault / kIndexFiles.name) return SpaceReserve::For::nothing;
  if (folder == vault / kSegmentFiles.name) return SpaceReserve::For::content;
  return SpaceReserve::For::durable_step;
}

// Calls until it is no want of room that it fails for, or the reserve has nothing more for it.
template <typename Call>
auto with_reserve(SpaceReserve& reserve, SpaceReserve::For purpose, const Call& call) {
  auto outcome = call();
  while (!outcome.ok() && outcome.code() == ErrorCode::NoSpace && reserve.give_up(purpose)) outcome = call();
  return outcome;
}

class ReservedFile final : public File {
 public:
  ReservedFile(std::unique_ptr<File> file, SpaceReserve& reserve, SpaceReserve::For purpose)
      : file_(std::move(file)), reserve_(reserve), purpose_(purpose) {}

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
    return file_->read_at(offset, out);
  }
  // The same bytes to the same place: whatever part of them the first try has written.
  Status write_at(std::uint64_t offset, ByteView bytes) override {
    return with_reserve(reserve_, purpose_, [&] { return file_->write_at(offset, bytes); });
  }
  Status write_if_room(std::uint64_t offset, ByteView bytes) override { return file_->write_at(offset, bytes); }
  Status allocate(std::uint64_t size) override { return file_->allocate(size); }
  // Not tried again: what a sync could not store is lost. write_file_durably() begins anew.
  Status sync() override { return file_->sync(); }
  Status truncate(std::uint64_t size) override {
    return with_reserve(reserve_, purpose_, [&] { return file_->truncate(size); });
  }
  Result<std::uint64_t> size() override { return file_->size(); }
  Result<FileInfo> info() override { return file_->info(); }

 private:
  std::unique_ptr<File> file_;
  SpaceReserve& reserve_;
  const SpaceReserve::For purpose_;
};

}  // namespace

Result<std::unique_ptr<File>> VaultDirectory::open(const Path& path, OpenMode mode) {
  if (mode == OpenMode::read_only) return held().open(path, mode);
  const SpaceReserve::For purpose = purpose_of(place_, path);
  VAULTFS_ASSIGN_OR_RETURN(auto file, with_reserve(reserve_, purpose, [&] { return held().open(path, mode); }));
  return std::unique_ptr<File>(std::make_unique<ReservedFile>(std::move(file), reserve_, purpose));
}

bool VaultDirectory::make_room(const Path& path) { return reserve_.give_up(purpose_of(place_, path)); }

Status VaultDirectory::rename(const Path& from, const Path& to) {
  return with_reserve(reserve_, SpaceReserve::For::durable_step, [&] { return held().rename(from, to); });
}

Result<bool> VaultDirectory::is_at(const Path& path) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo opened, identity());
  const auto there = machine_.info(path);
  return there.ok() && there->is_same_as(opened);
}

Status VaultDirectory::check_place() {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo opened, identity());
  const auto there = machine_.info(place_);
  if (there.ok() && there->is_same_as(opened)) return ok_status();
  const bool nothing = !there.ok() || there->kind == FileKind::missing;
  return Error{ErrorCode::AnotherVault, place_.string() + (nothing ? " is gone" : " is another directory now") +
                                            "; what was opened there is still used"};
}

namespace {

// Why a folder could not be used, told as what it means for a vault whose header is there.
Error folder_error(const Env::Path& folder, Error error) {
  if (error.code != ErrorCode::NotFound && error.code != ErrorCode::NotADirectory) return error;
  const std::string what = error.code == ErrorCode::NotFound ? " is missing" : " is not a folder";
  return Error{ErrorCode::DamagedHeader, "the vault's folder " + folder.filename().string() + what +
                                             "; put it back from a copy of the vault, or make an empty one if it was "
                                             "empty"};
}

}  // namespace

Result<std::vector<std::string>> VaultDirectory::list(const Path& directory) {
  auto names = held().list(directory);
  if (!names.ok()) return folder_error(directory, names.error());
  return names;
}

Status VaultDirectory::sync_directory(const Path& directory) {
  Status synced = held().sync_directory(directory);
  if (!synced.ok()) return folder_error(directory, synced.error());
  return synced;
}

Env& VaultDirectory::held() {
  if (held_ == nullptr) std::abort();
  return *held_;
}

}  // namespace vaultfs
