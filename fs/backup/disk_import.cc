#include "fs/backup/disk_import.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <system_error>

#include "base/files/file_time.h"
#include "base/files/path_overlap.h"
#include "base/thread/parallel_work.h"
#include "crypto/chunk_id.h"
#include "fs/backup/source/file_use.h"
#include "fs/backup/source/image_format.h"
#include "fs/tree/working_tree.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {
namespace {

// Requests of the block layer that wrote to a device, as /sys counts them; 0 where it does not tell.
std::uint64_t writes_of_device(dev_t device) {
  std::ifstream file("/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device)) + "/stat");
  constexpr int kWritesField = 5;
  std::uint64_t value = 0;
  for (int field = 0; field < kWritesField && file >> value; ++field) {
  }
  return file ? value : 0;
}

}  // namespace

Result<std::unique_ptr<SourceReader>> SourceReader::open(const std::filesystem::path& path,
                                                         const std::filesystem::path& vault_directory) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer. It means nothing for files and block devices.
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) {
    if (errno == ENXIO) return Error{ErrorCode::InvalidArgument, path.string() + " is no disk image or block device"};
    return system_call_error(errno, "cannot open " + path.string());
  }
  std::unique_ptr<SourceReader> source(new SourceReader(std::move(fd), path));
  VAULTFS_RETURN_IF_ERROR(source->examine(vault_directory));
  return source;
}

Result<std::unique_ptr<SourceReader>> SourceReader::of_descriptor(int descriptor, const std::filesystem::path& name,
                                                                  const std::filesystem::path& vault_directory) {
  FileDescriptor fd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return system_call_error(errno, "cannot take " + name.string());
  std::unique_ptr<SourceReader> source(new SourceReader(std::move(fd), name));
  VAULTFS_RETURN_IF_ERROR(source->examine(vault_directory));
  return source;
}

Status SourceReader::examine(const std::filesystem::path& vault_directory) {
  struct stat st {};
  if (::fstat(fd_.get(), &st) != 0) return system_call_error(errno, "cannot stat " + path_.string());
  if (S_ISDIR(st.st_mode)) return Error{ErrorCode::IsADirectory, path_.string() + " is a directory, not a disk image"};
  device_ = S_ISBLK(st.st_mode);
  if (!device_ && !S_ISREG(st.st_mode)) {
    return Error{ErrorCode::InvalidArgument, path_.string() + " is neither a regular file nor a block device"};
  }
  std::error_code error;
  const std::filesystem::path real = std::filesystem::read_symlink(fd_.proc_path(), error);
  if (!error && lies_within_directory(real, vault_directory)) {
    return Error{ErrorCode::OverlapsVault, path_.string() + " is a file of the vault itself; name the original image"};
  }
  VAULTFS_ASSIGN_OR_RETURN(size_bytes_, current_size());
  if (size_bytes_ == 0) {
    return Error{ErrorCode::InvalidArgument,
                 path_.string() + (device_ ? " is a device of 0 bytes: nothing is attached to it, or no medium is in it"
                                           : " is an empty file of 0 bytes, no disk image")};
  }
  if (size_bytes_ > kMaxFileBytes) return Error{ErrorCode::FileTooLarge, path_.string() + " is larger than 1 PiB"};
  VAULTFS_ASSIGN_OR_RETURN(stamp_, stamp());
  writer_at_start_ = other_writer(fd_.get());
  incomplete_ = why_image_is_incomplete([this](std::uint64_t offset, std::size_t length) {
    Bytes bytes(offset < size_bytes_ ? std::min<std::uint64_t>(length, size_bytes_ - offset) : 0);
    // What can't be read is told when all of it is.
    return bytes.empty() || !read(offset, bytes).ok() ? Bytes{} : bytes;
  });
  if (!device_) {
    const FileTime accessed = file_time_of(st.st_atim);
    const FileTime modified = file_time_of(st.st_mtim);
    origin_ = Origin{st.st_mode & 0777U, st.st_uid,     st.st_gid,
                     accessed.time,      modified.time, accessed.clamped || modified.clamped};
  }
  // Only a hint for the kernel's read-ahead; the cache is left alone, because a warm image is read from it next time.
  static_cast<void>(::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL));
  return ok_status();
}

Result<std::uint64_t> SourceReader::current_size() const {
  if (device_) {
    std::uint64_t bytes = 0;
    if (::ioctl(fd_.get(), BLKGETSIZE64, &bytes) != 0) return system_call_error(errno, "cannot size " + path_.string());
    return bytes;
  }
  struct stat st {};
  if (::fstat(fd_.get(), &st) != 0) return system_call_error(errno, "cannot stat " + path_.string());
  return static_cast<std::uint64_t>(st.st_size);
}

Result<SourceReader::Stamp> SourceReader::stamp() const {
  struct stat st {};
  if (::fstat(fd_.get(), &st) != 0) return system_call_error(errno, "cannot stat " + path_.string());
  return Stamp{file_time_of(st.st_mtim).time.value, file_time_of(st.st_ctim).time.value,
               device_ ? writes_of_device(st.st_rdev) : 0};
}

SourceReader::Extent SourceReader::next_data(std::uint64_t offset) const {
  const off_t data = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
  // ENXIO: only a hole follows; anything else: cannot tell.
  if (data < 0) return {errno == ENXIO ? size_bytes_ : offset, size_bytes_};
  const off_t hole = ::lseek(fd_.get(), data, SEEK_HOLE);
  return {static_cast<std::uint64_t>(data), hole < 0 ? size_bytes_ : static_cast<std::uint64_t>(hole)};
}

Status SourceReader::read(std::uint64_t offset, MutableByteView out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(fd_.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return system_call_error(errno, "cannot read " + path_.string() + " at byte " + std::to_string(offset + done));
    }
    if (n == 0) return Error{ErrorCode::JobFailed, path_.string() + " became shorter while it was read; try again"};
    done += static_cast<std::size_t>(n);
  }
  return ok_status();
}

Status SourceReader::check_size() const {
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t size, current_size());
  if (size == size_bytes_) return ok_status();
  return Error{ErrorCode::JobFailed, path_.string() + " changed its size from " + std::to_string(size_bytes_) + " to " +
                                         std::to_string(size) + " bytes while it was read; try again"};
}

bool SourceReader::touched() const {
  const Result<Stamp> now = stamp();
  return !now.ok() || *now != stamp_;
}

std::string SourceReader::writer() const {
  std::string now = other_writer(fd_.get());
  return now.empty() ? writer_at_start_ : now;
}

Result<SparseChunks> import_disk(const SourceReader& source, const EpochKeys& keys, SegmentStore& segments,
                                 const RoomCheck& room, ProgressMeter& progress, DiskImportCounts& counts) {
  const std::uint64_t size = source.size_bytes();
  SparseChunks ids((size + kChunkBytes - 1) / kChunkBytes);
  std::atomic<std::uint64_t> read_bytes{0};
  std::atomic<std::uint64_t> hole_bytes{0};
  std::atomic<std::uint64_t> new_chunks{0};
  std::atomic<std::uint64_t> known_chunks{0};
  std::atomic<std::uint64_t> stored_bytes{0};

  const auto import_chunk = [&](std::uint64_t index, Bytes& buffer) -> Status {
    const std::uint64_t offset = index * kChunkBytes;
    const std::size_t length = std::min<std::uint64_t>(kChunkBytes, size - offset);
    const MutableByteView content = MutableByteView(buffer).first(length);
    VAULTFS_RETURN_IF_ERROR(source.read(offset, content));
    read_bytes += length;
    if (is_all_zero(content)) return progress.add(length);
    VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, keys.with_id_key([&](const SecretBuffer& key) -> Result<ChunkId> {
      return chunk_id(key, static_cast<std::uint8_t>(RecordType::chunk), content);
    }));
    if (!segments.contains(id)) VAULTFS_RETURN_IF_ERROR(room(WorkingTree::kStoredChunkBytes));
    // Also for content that the disk had before: a chunk that was found damaged is stored anew.
    VAULTFS_ASSIGN_OR_RETURN(const PutOutcome put, segments.put(RecordType::chunk, id, content));
    (put.stored ? new_chunks : known_chunks) += 1;
    stored_bytes += put.stored_bytes;
    ids.set(index, id);
    return progress.add(length);
  };
  const auto find = [&source](std::uint64_t from) -> Result<ChunkDealer::Run> {
    const SourceReader::Extent data = source.next_data(from * kChunkBytes);
    const std::uint64_t all = (source.size_bytes() + kChunkBytes - 1) / kChunkBytes;
    if (data.begin >= source.size_bytes()) return ChunkDealer::Run{all, all};
    return ChunkDealer::Run{data.begin / kChunkBytes, (data.end + kChunkBytes - 1) / kChunkBytes};
  };
  const auto skipped = [&](std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t bytes = std::min(end * kChunkBytes, size) - begin * kChunkBytes;
    hole_bytes += bytes;
    return progress.add(bytes);
  };
  ChunkDealer dealer(ids.size(), find, skipped);
  const Status done = run_in_parallel(chunk_worker_count(), [&](const std::atomic<bool>& stop) -> Status {
    Bytes buffer(std::min<std::uint64_t>(kChunkBytes, size));
    while (!stop.load(std::memory_order_relaxed)) {
      VAULTFS_ASSIGN_OR_RETURN(const std::optional<std::uint64_t> index, dealer.next());
      if (!index.has_value()) break;
      VAULTFS_RETURN_IF_ERROR(import_chunk(*index, buffer));
    }
    return ok_status();
  });
  counts.read_bytes += read_bytes;
  counts.hole_bytes += hole_bytes;
  counts.new_chunks += new_chunks;
  counts.known_chunks += known_chunks;
  counts.stored_bytes += stored_bytes;
  VAULTFS_RETURN_IF_ERROR(done);
  VAULTFS_RETURN_IF_ERROR(source.check_size());
  return ids;
}

}  // namespace vaultfs
