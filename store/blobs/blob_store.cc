#include "store/blobs/blob_store.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/thread/mutex.h"
#include "store/blobs/stored_file.h"

namespace vaultfs {
namespace {

constexpr std::string_view kUnfinished = ".tmp";
constexpr std::string_view kAside = ".strange";

bool is_plain_part(std::string_view part) {
  return !part.empty() && part != "." && part != ".." && part.find('\0') == std::string_view::npos &&
         part.find('/') == std::string_view::npos;
}

bool is_blob_name(std::string_view name) {
  if (name.ends_with(kUnfinished)) return false;
  const std::size_t slash = name.find('/');
  if (slash == std::string_view::npos) return is_plain_part(name);
  return is_plain_part(name.substr(0, slash)) && is_plain_part(name.substr(slash + 1));
}

Error bad_name() {
  return Error{ErrorCode::InvalidName, "a blob's name is FILE or FOLDER/FILE and does not end in .tmp"};
}

class DirectoryBlobStore final : public BlobStore {
 public:
  DirectoryBlobStore(Env& env, Env::Path root) : env_(env), root_(std::move(root)) {}

  Status put(const std::string& name, ByteView bytes) override {
    if (!is_blob_name(name)) return bad_name();
    const Claim claim(*this, name);
    VAULTFS_RETURN_IF_ERROR(require_free(claim, name));
    Status written = write_file_durably(env_, root_ / name, bytes);
    if (!written.ok()) {
      // A disk that is full should not stay full because of what could not be finished.
      Env::Path unfinished = root_ / name;
      unfinished += kUnfinished;
      if (const auto left = env_.info(unfinished); left.ok() && left->kind == FileKind::file) {
        static_cast<void>(env_.remove_file(unfinished));
      }
    }
    return written;
  }

  Result<Bytes> get(const std::string& name, std::uint64_t limit) override {
    if (!is_blob_name(name)) return bad_name();
    return read_stored_file(env_, root_ / name, limit);
  }

  Result<std::unique_ptr<File>> open(const std::string& name) override {
    if (!is_blob_name(name)) return bad_name();
    return env_.open(root_ / name, OpenMode::read_only);
  }

  Result<std::vector<std::string>> list(const std::string& folder) override {
    if (!is_plain_part(folder)) return bad_name();
    VAULTFS_ASSIGN_OR_RETURN(auto names, env_.list(root_ / folder));
    std::erase_if(names, [](const std::string& name) { return name.ends_with(kUnfinished); });
    return names;
  }

  Status remove(const std::string& name) override {
    if (!is_blob_name(name)) return bad_name();
    const Env::Path path = root_ / name;
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(path));
    if (info.kind == FileKind::missing) return ok_status();
    VAULTFS_RETURN_IF_ERROR(env_.remove_file(path));
    return env_.sync_directory(path.parent_path());
  }

  Status set_aside(const std::string& name) override {
    if (!is_blob_name(name)) return bad_name();
    const Env::Path path = root_ / name;
    for (int attempt = 1;; ++attempt) {
      Env::Path aside = path;
      aside += attempt == 1 ? std::string(kAside) : std::string(kAside) + "-" + std::to_string(attempt);
      VAULTFS_ASSIGN_OR_RETURN(const FileInfo there, env_.info(aside));
      if (there.kind != FileKind::missing) continue;
      VAULTFS_RETURN_IF_ERROR(env_.rename(path, aside));
      return env_.sync_directory(path.parent_path());
    }
  }

  Status adopt(const Env::Path& local_file, const std::string& name) override {
    if (!is_blob_name(name)) return bad_name();
    const Claim claim(*this, name);
    VAULTFS_RETURN_IF_ERROR(require_free(claim, name));
    const Env::Path path = root_ / name;
    VAULTFS_RETURN_IF_ERROR(env_.rename(local_file, path));
    VAULTFS_RETURN_IF_ERROR(env_.sync_directory(path.parent_path()));
    // The new name first: a crash in between may leave both names, never none.
    if (local_file.parent_path() == path.parent_path()) return ok_status();
    return env_.sync_directory(local_file.parent_path());
  }

 private:
  // One writer a name at a time: the existence check and the rename after it can't be one step.
  class Claim {
   public:
    Claim(DirectoryBlobStore& store, std::string name) : store_(store), name_(std::move(name)) {
      const MutexLock lock(store_.mutex_);
      mine_ = store_.in_progress_.insert(name_).second;
    }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim() {
      if (!mine_) return;
      const MutexLock lock(store_.mutex_);
      store_.in_progress_.erase(name_);
    }
    [[nodiscard]] bool mine() const noexcept { return mine_; }

   private:
    DirectoryBlobStore& store_;
    std::string name_;
    bool mine_ = false;
  };

  Status require_free(const Claim& claim, const std::string& name) {
    if (!claim.mine()) return Error{ErrorCode::AlreadyExists, name + " is just being stored"};
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(root_ / name));
    if (info.kind != FileKind::missing) return Error{ErrorCode::AlreadyExists, name + " exists already"};
    return ok_status();
  }

  Env& env_;
  const Env::Path root_;
  Mutex mutex_;  // a leaf, not held across I/O
  std::set<std::string> in_progress_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<BlobStore> make_directory_blob_store(Env& env, Env::Path root) {
  return std::make_unique<DirectoryBlobStore>(env, std::move(root));
}

std::string numbered_name(std::uint64_t number, std::string_view extension) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string name(16, '0');
  for (std::size_t i = 0; i < 16; ++i) name[15 - i] = kDigits[(number >> (4U * i)) & 0xfU];
  name += '.';
  name += extension;
  return name;
}

std::optional<std::uint64_t> number_of(std::string_view file_name, std::string_view extension) {
  if (file_name.size() != 17 + extension.size() || file_name[16] != '.' || file_name.substr(17) != extension) {
    return std::nullopt;
  }
  std::uint64_t number = 0;
  for (const char c : file_name.substr(0, 16)) {
    std::uint64_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<std::uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<std::uint64_t>(c - 'a') + 10;
    } else {
      return std::nullopt;
    }
    number = number << 4U | digit;
  }
  if (number == 0) return std::nullopt;
  return number;
}

}  // namespace vaultfs
