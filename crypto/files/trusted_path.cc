#include "crypto/files/trusted_path.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <string>
#include <system_error>

#include "crypto/files/trusted_file.h"

namespace vaultfs {
namespace {

constexpr int kMaxFollowedLinks = 40;  // as Linux
constexpr mode_t kGroupOrOthersMayWrite = S_IWGRP | S_IWOTH;

// Looks a path up name by name, and at each thing that it meets.
class TrustedWalk {
 public:
  explicit TrustedWalk(std::string_view power) : power_(power) {}

  Result<std::filesystem::path> to(const std::filesystem::path& path) {
    if (!path.is_absolute()) return Error{ErrorCode::InvalidArgument, path.string() + " is not an absolute path"};
    VAULTFS_RETURN_IF_ERROR(look_at("/"));
    push_front(path);
    while (!names_.empty()) {
      const std::filesystem::path name = names_.front();
      names_.pop_front();
      VAULTFS_RETURN_IF_ERROR(step(name));
    }
    if (!S_ISREG(last_.st_mode)) return Error{ErrorCode::InvalidArgument, path.string() + " is not a regular file"};
    return at_;
  }

 private:
  void push_front(const std::filesystem::path& path) {
    const std::filesystem::path below = path.relative_path();
    auto before = names_.begin();
    for (const auto& name : below) before = std::next(names_.insert(before, name));
  }

  Status step(const std::filesystem::path& name) {
    if (name.empty() || name == ".") return ok_status();
    if (name == "..") {
      at_ = at_.parent_path();
      return look_at(at_);
    }
    const std::filesystem::path next = at_ / name;
    VAULTFS_RETURN_IF_ERROR(look_at(next));
    if (!S_ISLNK(last_.st_mode)) {
      at_ = next;
      return ok_status();
    }
    if (++followed_ > kMaxFollowedLinks) {
      return Error{ErrorCode::InvalidArgument, next.string() + ": its links go in circles"};
    }
    std::error_code problem;
    const std::filesystem::path target = std::filesystem::read_symlink(next, problem);
    if (problem) return Error{error_from_errno(problem.value()), next.string() + ": " + problem.message()};
    if (target.is_absolute()) at_ = "/";
    push_front(target);
    return ok_status();
  }

  // Into last_. A link's own mode says nothing: who may replace it is said by the folder that it lies in.
  Status look_at(const std::filesystem::path& path) {
    if (::lstat(path.c_str(), &last_) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return Error{ErrorCode::NotFound, path.string() + " does not exist"};
      return Error{error_from_errno(errno), path.string() + ": " + std::strerror(errno)};
    }
    if (!S_ISLNK(last_.st_mode) && (last_.st_mode & kGroupOrOthersMayWrite) != 0) {
      return Error{ErrorCode::PermissionDenied, path.string() + " can be written by others, who could " +
                                                    std::string(power_) + "; look at it, then: chmod go-w " +
                                                    path.string() + ", or use a copy elsewhere"};
    }
    return check_trusted_owner(path, last_.st_uid);
  }

  std::string_view power_;
  std::filesystem::path at_ = "/";
  std::deque<std::filesystem::path> names_;  // still to be looked up from at_
  struct stat last_ {};                      // of what was looked at last
  int followed_ = 0;
};

}  // namespace

Result<std::filesystem::path> resolve_trusted_path(const std::filesystem::path& path, std::string_view power) {
  return TrustedWalk(power).to(path);
}

}  // namespace vaultfs
