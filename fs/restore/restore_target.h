#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/files/file_descriptor.h"
#include "base/result.h"

namespace vaultfs {

// Where a restored disk is written: a new file that gets its name only when it is whole, or a block device.
// Writing and reading back are thread-safe; the rest is not.
class RestoreTarget {
 public:
  // A file beside `path`, without a name where the file system can do that. RefusedOverwrite if `path` exists and not
  // `force`, or is a symbolic link; IsADirectory; NotFound if its directory is missing. ItemBusy, also from publish(),
  // if what is to be replaced is used by somebody else (file_use.h), unless `replace_open`.
  [[nodiscard]] static Result<std::unique_ptr<RestoreTarget>> new_file(const std::filesystem::path& path, bool force,
                                                                       std::uint64_t size_bytes,
                                                                       bool replace_open = false);
  // An open, empty, writable file of the caller's.
  [[nodiscard]] static Result<std::unique_ptr<RestoreTarget>> adopt_file(FileDescriptor fd, std::uint64_t size_bytes);
  // ShortDevice; RefusedOverwrite if there is a file system or a partition table on it and not `force`; ItemBusy if the
  // device is mounted or otherwise in use; or locked by a virtual machine, unless `replace_open`.
  [[nodiscard]] static Result<std::unique_ptr<RestoreTarget>> device(const std::filesystem::path& path, bool force,
                                                                     std::uint64_t size_bytes,
                                                                     bool replace_open = false);
  RestoreTarget(const RestoreTarget&) = delete;
  RestoreTarget& operator=(const RestoreTarget&) = delete;
  // Removes a file that was not published.
  ~RestoreTarget();

  // Writes content; in a file, whole pages of zeros stay holes. The number of bytes really written.
  [[nodiscard]] Result<std::uint64_t> write(std::uint64_t offset, ByteView content);
  // Makes the range read as zeros: nothing to do in a file, real work on a device.
  [[nodiscard]] Status clear(std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] Status sync();

  // Prepares reading back what was synced, from the medium and not from memory where the system allows it.
  [[nodiscard]] Status start_reading_back();
  // Fills the start of `buffer` (kAlignment-aligned, room for kAlignment more than length) with [offset, offset +
  // length). `offset` is a multiple of 1 MiB.
  static constexpr std::size_t kAlignment = 4096;
  [[nodiscard]] Status read_back(std::uint64_t offset, std::size_t length, MutableByteView buffer);
  // The first byte from `offset` on that is in no hole of a file, which needs no reading to be known as zeros; `end` if
  // there is none. On a device, and where the file system can't tell, `offset`.
  [[nodiscard]] std::uint64_t next_data(std::uint64_t offset, std::uint64_t end) const;
  [[nodiscard]] bool is_device() const noexcept { return device_; }

  [[nodiscard]] int descriptor() const noexcept { return fd_.get(); }

  // Gives the file its name, durably; with `force` it replaces what is there. Nothing to do for a device.
  [[nodiscard]] Status publish();

 private:
  RestoreTarget() = default;
  [[nodiscard]] Status write_all(std::uint64_t offset, ByteView bytes);
  [[nodiscard]] Status open_unnamed();
  [[nodiscard]] Status publish_unnamed();
  [[nodiscard]] Status name_without_flags();

  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty: the file has no name yet, or needs none
  FileDescriptor fd_;
  FileDescriptor back_;
  bool direct_ = false;
  bool device_ = false;
  bool named_by_caller_ = false;
  bool force_ = false;
  bool replace_open_ = false;
};

// ItemBusy if there is a file of that path and somebody else goes on using it; for what is about to be replaced.
[[nodiscard]] Status check_not_in_use(const std::filesystem::path& path);

}  // namespace vaultfs
