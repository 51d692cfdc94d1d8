#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/files/env.h"

namespace vaultfs {

// Another Env as it is: a test overrides what is to be otherwise.
class EnvWrapper : public Env {
 public:
  explicit EnvWrapper(Env& inner) : inner_(inner) {}
  EnvWrapper(const EnvWrapper&) = delete;
  EnvWrapper& operator=(const EnvWrapper&) = delete;
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override { return inner_.open(path, mode); }
  Status rename(const Path& from, const Path& to) override { return inner_.rename(from, to); }
  Status remove_file(const Path& path) override { return inner_.remove_file(path); }
  Status remove_directory(const Path& path) override { return inner_.remove_directory(path); }
  Status make_directory(const Path& path) override { return inner_.make_directory(path); }
  Result<FileInfo> info(const Path& path) override { return inner_.info(path); }
  Result<std::vector<std::string>> list(const Path& directory) override { return inner_.list(directory); }
  Status sync_directory(const Path& directory) override { return inner_.sync_directory(directory); }
  Result<std::uint64_t> free_bytes(const Path& path) override { return inner_.free_bytes(path); }
  Result<std::unique_ptr<FileLock>> lock(const Path& path) override { return inner_.lock(path); }
  Result<std::unique_ptr<FileLock>> lock_shared(const Path& path) override { return inner_.lock_shared(path); }
  Result<Path> real_path(const Path& path) override { return inner_.real_path(path); }
  // What is overridden here holds for the directory's files too: they go through this Env, by their paths.
  Result<std::unique_ptr<Env>> hold_directory(const Path& path) override {
    VAULTFS_RETURN_IF_ERROR(inner_.hold_directory(path));
    return std::unique_ptr<Env>(std::make_unique<EnvWrapper>(static_cast<Env&>(*this)));
  }
  void fill_random(MutableByteView out) override { inner_.fill_random(out); }
  [[nodiscard]] const Clock& clock() const override { return inner_.clock(); }

 private:
  Env& inner_;
};

// Another File as it is, likewise. It sets no room aside, whatever the other can (File::allocate).
class FileWrapper : public File {
 public:
  explicit FileWrapper(std::unique_ptr<File> inner) : inner_(std::move(inner)) {}
  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
    return inner_->read_at(offset, out);
  }
  Status write_at(std::uint64_t offset, ByteView bytes) override { return inner_->write_at(offset, bytes); }
  Status sync() override { return inner_->sync(); }
  Status truncate(std::uint64_t size) override { return inner_->truncate(size); }
  Result<std::uint64_t> size() override { return inner_->size(); }
  Result<FileInfo> info() override { return inner_->info(); }

 private:
  std::unique_ptr<File> inner_;
};

}  // namespace vaultfs
