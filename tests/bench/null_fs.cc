// The cheapest FUSE file system that still keeps what is written: the limit that the kernel's interface sets to any
// other. Inodes and contents lie in memory, nothing is hashed, compressed, encrypted or made durable. It serves the
// same kind of mount as vaultfs does (direct I/O, requests of 1 MiB, a thread per request, names and attributes kept by
// the kernel), with libfuse 3's low-level interface. For scripts/bench only.
//
//   vaultfs_null_fs MOUNTPOINT -f       ends when it is unmounted
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20U;
constexpr double kKeptSeconds = 3600;

struct Inode {
  explicit Inode(fuse_ino_t number, mode_t mode) {
    attributes.st_ino = number;
    attributes.st_mode = mode;
    attributes.st_nlink = S_ISDIR(mode) ? 2 : 1;
    attributes.st_blksize = kBlockBytes;
  }
  std::shared_mutex lock;  // guards all below; taken after the table's, never before
  struct stat attributes {};
  std::vector<std::unique_ptr<char[]>> blocks;  // null: a hole
  std::map<std::string, std::shared_ptr<Inode>> entries;
};

using InodePtr = std::shared_ptr<Inode>;

class Table {
 public:
  Table() : inodes_{{FUSE_ROOT_ID, std::make_shared<Inode>(FUSE_ROOT_ID, S_IFDIR | 0755)}} {}
  InodePtr at(fuse_ino_t number) {
    const std::shared_lock held(lock_);
    const auto found = inodes_.find(number);
    return found == inodes_.end() ? nullptr : found->second;
  }
  InodePtr make(mode_t mode) {
    const std::unique_lock held(lock_);
    const fuse_ino_t number = ++last_;
    return inodes_.emplace(number, std::make_shared<Inode>(number, mode)).first->second;
  }
  void drop(fuse_ino_t number) {
    const std::unique_lock held(lock_);
    inodes_.erase(number);
  }

 private:
  std::shared_mutex lock_;  // guards both below
  std::unordered_map<fuse_ino_t, InodePtr> inodes_;
  fuse_ino_t last_ = FUSE_ROOT_ID;
};

Table& table() {
  static Table all;
  return all;
}

fuse_entry_param entry_of(const Inode& inode) {
  fuse_entry_param entry{};
  entry.ino = inode.attributes.st_ino;
  entry.attr = inode.attributes;
  entry.attr_timeout = entry.entry_timeout = kKeptSeconds;
  return entry;
}

// The inode of a request, or an answer of ENOENT and null.
InodePtr wanted(fuse_req_t request, fuse_ino_t number) {
  InodePtr inode = table().at(number);
  if (!inode) fuse_reply_err(request, ENOENT);
  return inode;
}

void initialise(void* /*userdata*/, fuse_conn_info* connection) {
  connection->max_write = kBlockBytes;
  connection->max_readahead = kBlockBytes;
  connection->max_background = 64;
  connection->want |= connection->capable &
                      (FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_DIO | FUSE_CAP_READDIRPLUS | FUSE_CAP_ATOMIC_O_TRUNC);
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const InodePtr directory = wanted(request, parent);
  if (!directory) return;
  const std::shared_lock held(directory->lock);
  const auto found = directory->entries.find(name);
  if (found == directory->entries.end()) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  const std::shared_lock child(found->second->lock);
  const fuse_entry_param entry = entry_of(*found->second);
  fuse_reply_entry(request, &entry);
}

void getattr(fuse_req_t request, fuse_ino_t number, fuse_file_info* /*file*/) {
  const InodePtr inode = wanted(request, number);
  if (!inode) return;
  const std::shared_lock held(inode->lock);
  fuse_reply_attr(request, &inode->attributes, kKeptSeconds);
}

void resize(Inode& inode, off_t size) {
  inode.attributes.st_size = size;
  inode.blocks.resize((static_cast<std::size_t>(size) + kBlockBytes - 1) / kBlockBytes);
  const std::size_t tail = static_cast<std::size_t>(size) % kBlockBytes;
  if (tail != 0 && inode.blocks.back()) std::memset(inode.blocks.back().get() + tail, 0, kBlockBytes - tail);
}

void setattr(fuse_req_t request, fuse_ino_t number, struct stat* change, int what, fuse_file_info* /*file*/) {
  const InodePtr inode = wanted(request, number);
  if (!inode) return;
  const std::unique_lock held(inode->lock);
  if ((what & FUSE_SET_ATTR_SIZE) != 0) resize(*inode, change->st_size);
  if ((what & FUSE_SET_ATTR_MODE) != 0) {
    inode->attributes.st_mode = (inode->attributes.st_mode & S_IFMT) | (change->st_mode & 07777U);
  }
  if ((what & FUSE_SET_ATTR_UID) != 0) inode->attributes.st_uid = change->st_uid;
  if ((what & FUSE_SET_ATTR_GID) != 0) inode->attributes.st_gid = change->st_gid;
  if ((what & FUSE_SET_ATTR_ATIME) != 0) inode->attributes.st_atim = change->st_atim;
  if ((what & FUSE_SET_ATTR_MTIME) != 0) inode->attributes.st_mtim = change->st_mtim;
  fuse_reply_attr(request, &inode->attributes, kKeptSeconds);
}

// A new inode with a name, or null after an answer of ENOENT or EEXIST.
InodePtr add(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  const InodePtr directory = wanted(request, parent);
  if (!directory) return nullptr;
  const std::unique_lock held(directory->lock);
  if (directory->entries.contains(name)) {
    fuse_reply_err(request, EEXIST);
    return nullptr;
  }
  InodePtr inode = table().make(mode);
  directory->entries.emplace(name, inode);
  return inode;
}

void mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  const InodePtr inode = add(request, parent, name, S_IFDIR | (mode & 07777U));
  if (!inode) return;
  const fuse_entry_param entry = entry_of(*inode);
  fuse_reply_entry(request, &entry);
}

void open(fuse_req_t request, fuse_ino_t number, fuse_file_info* file) {
  const InodePtr inode = wanted(request, number);
  if (!inode) return;
  if ((file->flags & O_TRUNC) != 0) {
    const std::unique_lock held(inode->lock);
    resize(*inode, 0);
  }
  file->direct_io = 1;
  fuse_reply_open(request, file);
}

void create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* file) {
  const InodePtr inode = add(request, parent, name, S_IFREG | (mode & 07777U));
  if (!inode) return;
  file->direct_io = 1;
  const fuse_entry_param entry = entry_of(*inode);
  fuse_reply_create(request, &entry, file);
}

void write(fuse_req_t request, fuse_ino_t number, const char* bytes, std::size_t size, off_t offset,
           fuse_file_info* /*file*/) {
  const InodePtr inode = wanted(request, number);
  if (!inode) return;
  const std::unique_lock held(inode->lock);
  auto place = static_cast<std::size_t>(offset);
  if (offset + static_cast<off_t>(size) > inode->attributes.st_size) resize(*inode, offset + static_cast<off_t>(size));
  for (std::size_t done = 0; done < size;) {
    const std::size_t within = place % kBlockBytes;
    const std::size_t part = std::min(size - done, kBlockBytes - within);
    auto& block = inode->blocks[place / kBlockBytes];
    if (!block) {
      block = part == kBlockBytes ? std::make_unique_for_overwrite<char[]>(kBlockBytes)
                                  : std::make_unique<char[]>(kBlockBytes);
      inode->attributes.st_blocks += kBlockBytes / 512;
    }
    std::memcpy(block.get() + within, bytes + done, part);
    done += part;
    place += part;
  }
  fuse_reply_write(request, size);
}

void read(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset, fuse_file_info* /*file*/) {
  static const std::array<char, kBlockBytes> kZeros{};
  const InodePtr inode = wanted(request, number);
  if (!inode) return;
  const std::shared_lock held(inode->lock);
  const off_t left = std::max<off_t>(0, inode->attributes.st_size - offset);
  size = std::min(size, static_cast<std::size_t>(left));
  std::vector<iovec> parts;
  auto place = static_cast<std::size_t>(offset);
  for (std::size_t done = 0; done < size;) {
    const std::size_t within = place % kBlockBytes;
    const std::size_t part = std::min(size - done, kBlockBytes - within);
    const auto& block = inode->blocks[place / kBlockBytes];
    parts.push_back({const_cast<char*>(block ? block.get() + within : kZeros.data()), part});
    done += part;
    place += part;
  }
  fuse_reply_iov(request, parts.data(), static_cast<int>(parts.size()));
}

void remove(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const InodePtr directory = wanted(request, parent);
  if (!directory) return;
  const std::unique_lock held(directory->lock);
  const auto found = directory->entries.find(name);
  if (found == directory->entries.end()) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  table().drop(found->second->attributes.st_ino);
  directory->entries.erase(found);
  fuse_reply_err(request, 0);
}

// Position N is entry N in the order of names: enough for a directory that stands still while it is listed.
void list(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t position, bool with_attributes) {
  const InodePtr directory = wanted(request, number);
  if (!directory) return;
  const std::shared_lock held(directory->lock);
  std::vector<char> answer(size);
  std::size_t used = 0;
  if (position >= static_cast<off_t>(directory->entries.size())) {
    fuse_reply_buf(request, nullptr, 0);
    return;
  }
  for (auto each = std::next(directory->entries.begin(), position); each != directory->entries.end(); ++each) {
    const fuse_entry_param entry = entry_of(*each->second);
    ++position;
    char* const target = answer.data() + used;
    const std::size_t length =
        with_attributes ? fuse_add_direntry_plus(request, target, size - used, each->first.c_str(), &entry, position)
                        : fuse_add_direntry(request, target, size - used, each->first.c_str(), &entry.attr, position);
    if (length > size - used) break;
    used += length;
  }
  fuse_reply_buf(request, answer.data(), used);
}

void readdir(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t position, fuse_file_info* /*file*/) {
  list(request, number, size, position, false);
}
void readdirplus(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t position, fuse_file_info* /*file*/) {
  list(request, number, size, position, true);
}

void succeed(fuse_req_t request, fuse_ino_t /*number*/, fuse_file_info* /*file*/) { fuse_reply_err(request, 0); }
void synced(fuse_req_t request, fuse_ino_t /*number*/, int /*data_only*/, fuse_file_info* /*file*/) {
  fuse_reply_err(request, 0);
}
// Names are asked for like vaultfs's, and there are none: ls -l does not stop asking, as it would after ENOSYS.
void getxattr(fuse_req_t request, fuse_ino_t /*number*/, const char* /*name*/, std::size_t /*size*/) {
  fuse_reply_err(request, ENODATA);
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops all{};
  all.init = initialise;
  all.lookup = lookup;
  all.getattr = getattr;
  all.setattr = setattr;
  all.mkdir = mkdir;
  all.unlink = remove;
  all.rmdir = remove;
  all.open = open;
  all.create = create;
  all.read = read;
  all.write = write;
  all.flush = succeed;
  all.release = succeed;
  all.fsync = synced;
  all.readdir = readdir;
  all.readdirplus = readdirplus;
  all.getxattr = getxattr;
  return all;
}

}  // namespace

int main(int count, char** words) {
  fuse_args arguments = FUSE_ARGS_INIT(count, words);
  fuse_cmdline_opts options{};
  if (fuse_parse_cmdline(&arguments, &options) != 0 || options.mountpoint == nullptr) {
    static_cast<void>(std::fputs("usage: vaultfs_null_fs MOUNTPOINT -f\n", stderr));
    return 2;
  }
  const std::unique_ptr<char, decltype(&std::free)> mount_point(options.mountpoint, &std::free);
  const fuse_lowlevel_ops all = operations();
  fuse_session* const session = fuse_session_new(&arguments, &all, sizeof all, nullptr);
  if (session == nullptr || fuse_set_signal_handlers(session) != 0 ||
      fuse_session_mount(session, mount_point.get()) != 0)
    return 1;
  fuse_daemonize(options.foreground);
  fuse_loop_config* const config = fuse_loop_cfg_create();
  constexpr unsigned kThreads = 32;
  fuse_loop_cfg_set_clone_fd(config, 1);
  fuse_loop_cfg_set_max_threads(config, kThreads);
  fuse_loop_cfg_set_idle_threads(config, kThreads);
  const int result = fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  fuse_session_unmount(session);
  fuse_remove_signal_handlers(session);
  fuse_session_destroy(session);
  fuse_opt_free_args(&arguments);
  return result == 0 ? 0 : 1;
}
