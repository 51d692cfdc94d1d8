#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/files/file_descriptor.h"
#include "base/ids.h"
#include "base/result.h"
#include "fs/backup/source/sparse_chunks.h"
#include "fs/content/progress_meter.h"
#include "store/record/epoch_keys.h"
#include "store/segment/segment_store.h"

namespace vaultfs {

// A disk image or block device that is read for a backup. Thread-safe.
class SourceReader {
 public:
  // NotFound, PermissionDenied, IsADirectory; InvalidArgument for anything that is no regular file and no block device,
  // and for one without a single byte; OverlapsVault for a file of the vault itself.
  [[nodiscard]] static Result<std::unique_ptr<SourceReader>> open(const std::filesystem::path& path,
                                                                  const std::filesystem::path& vault_directory);
  // The same for a file that is open already: `descriptor` is duplicated, `name` is for messages.
  [[nodiscard]] static Result<std::unique_ptr<SourceReader>> of_descriptor(
      int descriptor, const std::filesystem::path& name, const std::filesystem::path& vault_directory);
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  // The first bytes from `offset` on that are no hole; begin is size_bytes() if only holes follow. Without help from
  // the source's file system everything is data.
  struct Extent {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  [[nodiscard]] Extent next_data(std::uint64_t offset) const;
  // Fills `out` or fails: JobFailed if the source has become shorter, the error of the read otherwise.
  [[nodiscard]] Status read(std::uint64_t offset, MutableByteView out) const;
  // After everything was read. JobFailed if the size is no longer the one at the start.
  [[nodiscard]] Status check_size() const;
  // True if the source was written to since it was opened: what was read is then no state that it ever had.
  [[nodiscard]] bool touched() const;
  // Who else may be changing it, now or when it was opened: "is …" for people; empty: nobody, as far as can be told.
  [[nodiscard]] std::string writer() const;
  // Why the image is not a whole one by itself: "is …" for people; empty: it is, or has no form that tells.
  [[nodiscard]] const std::string& incomplete() const noexcept { return incomplete_; }
  [[nodiscard]] const std::filesystem::path& name() const noexcept { return path_; }
  // Of a file, as it was opened: what a restore is to give back. Nothing of a device.
  struct Origin {
    std::uint32_t mode = 0, uid = 0, gid = 0;
    UnixNanos atime, mtime;
    bool clamped = false;  // a time that no vault keeps
  };
  [[nodiscard]] const std::optional<Origin>& origin() const noexcept { return origin_; }

 private:
  struct Stamp {
    std::int64_t modified_nanos = 0;
    std::int64_t changed_nanos = 0;
    std::uint64_t written = 0;  // of a device: requests that wrote to it since it is there
    bool operator==(const Stamp&) const = default;
  };
  SourceReader(FileDescriptor fd, std::filesystem::path path) : fd_(std::move(fd)), path_(std::move(path)) {}
  [[nodiscard]] Status examine(const std::filesystem::path& vault_directory);
  [[nodiscard]] Result<std::uint64_t> current_size() const;
  [[nodiscard]] Result<Stamp> stamp() const;

  FileDescriptor fd_;
  std::filesystem::path path_;
  bool device_ = false;
  std::uint64_t size_bytes_ = 0;
  Stamp stamp_;
  std::string writer_at_start_;
  std::string incomplete_;
  std::optional<Origin> origin_;
};

struct DiskImportCounts {
  std::uint64_t read_bytes = 0;
  std::uint64_t hole_bytes = 0;
  std::uint64_t new_chunks = 0;
  std::uint64_t known_chunks = 0;
  std::uint64_t stored_bytes = 0;
};

// Asked before a chunk is stored, from any thread. NoSpace ends the import.
using RoomCheck = std::function<Status(std::uint64_t bytes)>;

// Reads the whole source with all cores into the store and gives its chunks (zero id: hole or zeros). Content that the
// store has already is only hashed, and needs no room. Nothing refers to the chunks yet. Adds to `counts`.
[[nodiscard]] Result<SparseChunks> import_disk(const SourceReader& source, const EpochKeys& keys,
                                               SegmentStore& segments, const RoomCheck& room, ProgressMeter& progress,
                                               DiskImportCounts& counts);

}  // namespace vaultfs
