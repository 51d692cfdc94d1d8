#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "tests/support/env_wrapper.h"

namespace vaultfs {

// What was asked of an Env.
struct EnvWork {
  std::uint64_t read_bytes = 0;
  std::uint64_t largest_read = 0;  // bytes, of one call
  std::uint64_t opened = 0;        // files
  std::uint64_t synced = 0;        // directories
};

// Another Env that counts what it is asked, and in which files are as long as a test says: behind what they hold come
// zeros that take no space. One thread.
class SparseEnv final : public EnvWrapper {
 public:
  explicit SparseEnv(Env& inner) : EnvWrapper(inner) {}

  // From now on, until the file is cut. No file gets shorter by it.
  void stretch(const Path& path, std::uint64_t bytes) { stretched_[path] = bytes; }
  void stretch_none() { stretched_.clear(); }
  EnvWork work;

  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    ++work.opened;
    VAULTFS_ASSIGN_OR_RETURN(auto file, EnvWrapper::open(path, mode));
    return std::unique_ptr<File>(std::make_unique<SparseFile>(*this, std::move(file), path));
  }
  Result<FileInfo> info(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(FileInfo info, EnvWrapper::info(path));
    if (info.kind == FileKind::file) info.size = length(path, info.size);
    return info;
  }
  Status rename(const Path& from, const Path& to) override {
    VAULTFS_RETURN_IF_ERROR(EnvWrapper::rename(from, to));
    const auto stretched = stretched_.find(from);
    if (stretched != stretched_.end()) stretched_[to] = stretched->second;
    stretched_.erase(from);
    return ok_status();
  }
  Status sync_directory(const Path& directory) override {
    ++work.synced;
    return EnvWrapper::sync_directory(directory);
  }

 private:
  class SparseFile final : public File {
   public:
    SparseFile(SparseEnv& env, std::unique_ptr<File> file, Path path)
        : env_(env), file_(std::move(file)), path_(std::move(path)) {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
      EnvWork& work = env_.work;
      work.largest_read = std::max<std::uint64_t>(work.largest_read, out.size());
      VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file_->read_at(offset, out));
      VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t end, size());
      const std::uint64_t there = std::min<std::uint64_t>(out.size(), end - std::min(end, offset));
      std::fill(out.begin() + static_cast<std::ptrdiff_t>(read), out.begin() + static_cast<std::ptrdiff_t>(there),
                std::byte{0});
      work.read_bytes += there;
      return static_cast<std::size_t>(there);
    }
    Status write_at(std::uint64_t offset, ByteView bytes) override { return file_->write_at(offset, bytes); }
    Status sync() override { return file_->sync(); }
    Status truncate(std::uint64_t bytes) override {
      env_.stretched_.erase(path_);
      return file_->truncate(bytes);
    }
    Result<std::uint64_t> size() override {
      VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t bytes, file_->size());
      return env_.length(path_, bytes);
    }
    Result<FileInfo> info() override {
      VAULTFS_ASSIGN_OR_RETURN(FileInfo info, file_->info());
      info.size = env_.length(path_, info.size);
      return info;
    }

   private:
    SparseEnv& env_;
    const std::unique_ptr<File> file_;
    const Path path_;
  };

  [[nodiscard]] std::uint64_t length(const Path& path, std::uint64_t bytes) const {
    const auto stretched = stretched_.find(path);
    return stretched == stretched_.end() ? bytes : std::max(bytes, stretched->second);
  }

  std::map<Path, std::uint64_t> stretched_;
};

}  // namespace vaultfs
