#pragma once

#include <vector>

#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"

namespace vaultfs {

// An Env that keeps account of the files and directories made through it, so that exactly these can be taken back.
// Thread-safe.
class MadeFiles final : public Env {
 public:
  // `inner` must outlive it.
  explicit MadeFiles(Env& inner) : inner_(inner) {}

  // Removes, the newest first and as far as it can, what was made and still is what has its name.
  void take_back();

  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override;
  Status rename(const Path& from, const Path& to) override;
  Status remove_file(const Path& path) override { return inner_.remove_file(path); }
  Status remove_directory(const Path& path) override { return inner_.remove_directory(path); }
  Status make_directory(const Path& path) override;
  Result<FileInfo> info(const Path& path) override { return inner_.info(path); }
  Result<std::vector<std::string>> list(const Path& directory) override { return inner_.list(directory); }
  Status sync_directory(const Path& directory) override { return inner_.sync_directory(directory); }
  Result<std::uint64_t> free_bytes(const Path& path) override { return inner_.free_bytes(path); }
  Result<std::unique_ptr<FileLock>> lock(const Path& path) override;
  Result<std::unique_ptr<FileLock>> lock_shared(const Path& path) override { return inner_.lock_shared(path); }
  Result<Path> real_path(const Path& path) override { return inner_.real_path(path); }
  Result<std::unique_ptr<Env>> hold_directory(const Path& path) override { return inner_.hold_directory(path); }
  void fill_random(MutableByteView out) override { inner_.fill_random(out); }
  [[nodiscard]] const Clock& clock() const override { return inner_.clock(); }

 private:
  struct Made {
    Path path;
    FileInfo info;
  };
  void note(const Path& path);

  Env& inner_;
  Mutex mutex_;  // a leaf
  std::vector<Made> made_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
