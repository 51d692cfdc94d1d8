#pragma once

#include <memory>

#include "base/files/env.h"
#include "base/result.h"
#include "vaultmeta/layout/space_reserve.h"

namespace vaultfs {

// A vault is an object, not a path: its directory is opened once (Env::hold_directory), and all that is read and
// written in it goes by what was opened. To be used as the Env of everything in the vault, with paths that begin with
// place(). Thread-safe after open().
//
// Here is the one place where the reserve (space_reserve.h) is spent: what finds no room is tried again for as long as
// a file of the reserve can be given up for it.
class VaultDirectory final : public Env {
 public:
  // `machine` must outlive it.
  VaultDirectory(Env& machine, Path path) : machine_(machine), asked_(std::move(path)) {}

  // Links on the way to the directory are followed now and never again. VaultNotFound, NotAVault.
  [[nodiscard]] Status open();
  // Where it was found: absolute, without links.
  [[nodiscard]] const Path& place() const { return place_; }
  // As it was asked for: absolute.
  [[nodiscard]] const Path& asked() const { return asked_; }
  // Of the directory that is open.
  [[nodiscard]] Result<FileInfo> identity() { return info(place_); }
  // Whether a path leads to what was opened.
  [[nodiscard]] Result<bool> is_at(const Path& path);
  // Whether the place still leads to what was opened; otherwise AnotherVault, which says what is there.
  [[nodiscard]] Status check_place();
  // What it was opened on.
  [[nodiscard]] Env& machine() { return machine_; }

  [[nodiscard]] SpaceReserve& reserve() { return reserve_; }

  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override;
  Status rename(const Path& from, const Path& to) override;
  Status remove_file(const Path& path) override { return held().remove_file(path); }
  Status remove_directory(const Path& path) override { return held().remove_directory(path); }
  Status make_directory(const Path& path) override { return held().make_directory(path); }
  Result<FileInfo> info(const Path& path) override { return held().info(path); }
  // A folder of the vault that is missing, or is none, is damage: DamagedHeader, here and in sync_directory().
  Result<std::vector<std::string>> list(const Path& directory) override;
  Status sync_directory(const Path& directory) override;
  Result<std::uint64_t> free_bytes(const Path& path) override { return held().free_bytes(path); }
  Result<FreeSpace> free_space(const Path& path) override { return held().free_space(path); }
  bool make_room(const Path& path) override;
  Result<std::unique_ptr<FileLock>> lock(const Path& path) override { return held().lock(path); }
  Result<std::unique_ptr<FileLock>> lock_shared(const Path& path) override { return held().lock_shared(path); }
  Result<Path> real_path(const Path& path) override { return machine_.real_path(path); }
  Result<std::unique_ptr<Env>> hold_directory(const Path& path) override { return held().hold_directory(path); }
  void fill_random(MutableByteView out) override { machine_.fill_random(out); }
  [[nodiscard]] const Clock& clock() const override { return machine_.clock(); }

 private:
  // REQUIRES: open() has succeeded.
  [[nodiscard]] Env& held();

  Env& machine_;
  Path asked_;
  Path place_;
  std::unique_ptr<Env> held_;
  SpaceReserve reserve_;
};

}  // namespace vaultfs
