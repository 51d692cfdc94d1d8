#include "fs/tree/file_tree.h"

namespace vaultfs {

Result<Attributes> resolve_path(FileTree& tree, InodeNumber root, std::string_view path) {
  VAULTFS_ASSIGN_OR_RETURN(Attributes at, tree.attributes(root));
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
    if (name.empty() || name == ".") continue;
    if (at.type != InodeType::directory) return Error{ErrorCode::NotADirectory, "a part of the path is no directory"};
    VAULTFS_ASSIGN_OR_RETURN(at, tree.lookup(at.number, std::string(name)));
  }
  return at;
}

}  // namespace vaultfs
