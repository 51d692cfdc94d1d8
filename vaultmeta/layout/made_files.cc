#include "vaultmeta/layout/made_files.h"

#include <utility>

#include "base/thread/mutex.h"

namespace vaultfs {

void MadeFiles::note(const Path& path) {
  const auto info = inner_.info(path);
  if (!info.ok() || info->kind == FileKind::missing) return;
  const MutexLock lock(mutex_);
  made_.push_back({path, *info});
}

Result<std::unique_ptr<File>> MadeFiles::open(const Path& path, OpenMode mode) {
  VAULTFS_ASSIGN_OR_RETURN(auto file, inner_.open(path, mode));
  if (mode == OpenMode::create_exclusive) {
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, file->info());
    const MutexLock lock(mutex_);
    made_.push_back({path, info});
  }
  return file;
}

Status MadeFiles::rename(const Path& from, const Path& to) {
  VAULTFS_RETURN_IF_ERROR(inner_.rename(from, to));
  const MutexLock lock(mutex_);
  for (Made& made : made_) {
    if (made.path == from) made.path = to;
  }
  return ok_status();
}

Status MadeFiles::make_directory(const Path& path) {
  VAULTFS_RETURN_IF_ERROR(inner_.make_directory(path));
  note(path);
  return ok_status();
}

Result<std::unique_ptr<FileLock>> MadeFiles::lock(const Path& path) {
  const auto before = inner_.info(path);
  auto lock = inner_.lock(path);
  if (lock.ok() && before.ok() && before->kind == FileKind::missing) note(path);
  return lock;
}

void MadeFiles::take_back() {
  std::vector<Made> made;
  {
    const MutexLock lock(mutex_);
    made = std::exchange(made_, {});
  }
  for (auto one = made.rbegin(); one != made.rend(); ++one) {
    const auto now = inner_.info(one->path);
    if (!now.ok() || !now->is_same_as(one->info)) continue;
    static_cast<void>(now->kind == FileKind::directory ? inner_.remove_directory(one->path)
                                                       : inner_.remove_file(one->path));
  }
}

}  // namespace vaultfs
