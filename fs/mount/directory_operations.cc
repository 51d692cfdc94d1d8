// Listing directories. A listing is taken when somebody reads from the start, after opendir or rewinddir, and kept
// until then, so that offsets stay valid while entries come and go.

#include <sys/stat.h>

#include <memory>
#include <utility>
#include <vector>

#include "fs/mount/fuse_request.h"

namespace vaultfs {
namespace {

struct ListedEntry {
  std::string name;
  fuse_ino_t number = 0;
  mode_t type = 0;
};

struct Listing {
  std::vector<ListedEntry> entries;
  bool taken = false;
  std::uint64_t handle = 0;  // keeps a directory that is removed meanwhile
};

mode_t entry_type(InodeType type) {
  Attributes attributes;
  attributes.type = type;
  return stat_of(attributes, 0).st_mode & S_IFMT;
}

Result<std::vector<ListedEntry>> list_number(MountContext& context, fuse_ino_t number) {
  VAULTFS_ASSIGN_OR_RETURN(const InodeRouting::Route route, context.routing.route(number));
  std::vector<ListedEntry> entries;
  entries.push_back({".", number, S_IFDIR});
  entries.push_back({"..", FUSE_ROOT_ID, S_IFDIR});  // the kernel knows better and fills in its own
  switch (route.kind) {
    case InodeRouting::Kind::points_directory:
      for (const std::string& item : context.routing.items_with_points()) {
        entries.push_back({item, context.routing.item_points_number(item), S_IFDIR});
      }
      return entries;
    case InodeRouting::Kind::item_points:
      for (const PointInfo& point : context.engine.vault().catalogue().points_of(route.item)) {
        entries.push_back({point.id(), InodeRouting::point_root_number(point.number), S_IFDIR});
      }
      return entries;
    case InodeRouting::Kind::working:
    case InodeRouting::Kind::point:
      break;
  }
  FileTree& tree = route.tree ? *route.tree : context.engine.tree();
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> listed, tree.list(route.inode));
  entries.reserve(listed.size() + 2);
  for (const DirectoryEntry& entry : listed) {
    entries.push_back({entry.name, child_number(route, entry.number), entry_type(entry.type)});
  }
  return entries;
}

void close_listing(MountContext& context, Listing* listing) {
  if (listing->handle != 0) context.engine.tree().release(listing->handle);
  delete listing;
}

void opendir(fuse_req_t request, fuse_ino_t number, fuse_file_info* file) {
  serve(request, [&](MountContext& context) -> Status {
    auto listing = std::make_unique<Listing>();
    VAULTFS_ASSIGN_OR_RETURN(const InodeRouting::Route route, context.routing.route(number));
    if (route.kind == InodeRouting::Kind::working) {
      VAULTFS_ASSIGN_OR_RETURN(listing->handle, context.engine.tree().open(route.inode, false));
    }
    Listing* raw = listing.release();
    file->fh = reinterpret_cast<std::uint64_t>(raw);
    if (fuse_reply_open(request, file) != 0) close_listing(context, raw);  // interrupted: no releasedir will come
    return ok_status();
  });
}

Listing& listing_of(const fuse_file_info* file) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): libfuse keeps it for us as a number
  return *reinterpret_cast<Listing*>(file->fh);
}

// Whoever starts over sees what is there by then, also if nothing was read in between.
Status take_listing(MountContext& context, fuse_ino_t number, off_t offset, Listing& listing) {
  if (offset != 0 && listing.taken) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(listing.entries, list_number(context, number));
  listing.taken = true;
  return ok_status();
}

void readdir_any(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, const fuse_file_info* file,
                 bool plus) {
  serve(request, [&](MountContext& context) -> Status {
    Listing& listing = listing_of(file);
    VAULTFS_RETURN_IF_ERROR(take_listing(context, number, offset, listing));
    std::vector<char> buffer(size);
    std::vector<fuse_ino_t> told;  // each counts one reference of the kernel
    std::size_t used = 0;
    for (auto i = static_cast<std::size_t>(offset); i < listing.entries.size(); ++i) {
      const ListedEntry& entry = listing.entries[i];
      const auto next = static_cast<off_t>(i + 1);
      std::size_t needed = 0;
      if (plus) {
        fuse_entry_param parameters{};
        // Attributes of a point's root want its manifest, which takes far longer than listing: who needs them asks.
        const bool name_only = entry.name == "." || entry.name == ".." || InodeRouting::is_point_root(entry.number);
        if (!name_only) {
          auto attributes = attributes_of_number(context, entry.number);
          if (!attributes.ok()) continue;  // removed since it was listed
          parameters = entry_of(attributes.value());
        } else {
          parameters.attr.st_ino = entry.number;
          parameters.attr.st_mode = entry.type;
        }
        needed =
            fuse_add_direntry_plus(request, buffer.data() + used, size - used, entry.name.c_str(), &parameters, next);
      } else {
        struct stat st {};
        st.st_ino = entry.number;
        st.st_mode = entry.type;
        needed = fuse_add_direntry(request, buffer.data() + used, size - used, entry.name.c_str(), &st, next);
      }
      if (needed > size - used) break;
      const bool counts =
          plus && entry.number < InodeRouting::kPointsDirectory && entry.name != "." && entry.name != "..";
      if (counts) {
        if (!context.engine.tree().remember(InodeNumber(entry.number))) continue;  // removed since
        told.push_back(entry.number);
      }
      used += needed;
    }
    if (fuse_reply_buf(request, buffer.data(), used) != 0) {
      for (const fuse_ino_t inode : told) forget_number(context, inode, 1);
    }
    return ok_status();
  });
}

void readdir(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, fuse_file_info* file) {
  readdir_any(request, number, size, offset, file, false);
}

void readdirplus(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, fuse_file_info* file) {
  readdir_any(request, number, size, offset, file, true);
}

void releasedir(fuse_req_t request, fuse_ino_t /*number*/, fuse_file_info* file) {
  serve(request, [&](MountContext& context) -> Status {
    close_listing(context, &listing_of(file));
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

void fsyncdir(fuse_req_t request, fuse_ino_t number, int /*datasync*/, fuse_file_info* /*file*/) {
  serve_in_turn(request, [request, number](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRouting::Route route, context.routing.route(number));
    if (route.kind == InodeRouting::Kind::working && !context.read_only) {
      VAULTFS_RETURN_IF_ERROR(context.engine.tree().fsync(route.inode, 0));
    }
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

}  // namespace

void register_directory_operations(fuse_lowlevel_ops& operations) {
  operations.opendir = opendir;
  operations.readdir = readdir;
  operations.readdirplus = readdirplus;
  operations.releasedir = releasedir;
  operations.fsyncdir = fsyncdir;
}

}  // namespace vaultfs
