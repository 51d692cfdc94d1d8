#include "fs/tree/content.h"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

namespace vaultfs {
namespace {

// A run of chunks of one file that can't be read.
class Stretch {
 public:
  Stretch(std::string item, std::string path, const LossTeller& tell)
      : item_(std::move(item)), path_(std::move(path)), tell_(tell) {}
  Stretch(const Stretch&) = delete;
  Stretch& operator=(const Stretch&) = delete;
  ~Stretch() { end(); }
  void add(std::uint64_t offset, std::uint64_t bytes, const Error& error) {
    if (range_.bytes > 0 && range_.offset + range_.bytes == offset && range_.error.code == error.code) {
      range_.bytes += bytes;
      return;
    }
    end();
    range_ = {path_, offset, bytes, error};
  }

 private:
  void end() {
    if (range_.bytes > 0) tell_(item_, range_);
    range_ = {};
  }
  const std::string item_;
  const std::string path_;
  const LossTeller& tell_;
  DamagedRange range_;
};

class TreeLook {
 public:
  TreeLook(WorkingTree& tree, const ContentLook& look, const LossTeller& tell)
      : tree_(tree), look_(look), tell_(tell) {}

  Status run() {
    for (const std::string& item : tree_.item_names()) {
      const auto directory = tree_.lookup(kRootInode, item);
      if (directory.ok()) VAULTFS_RETURN_IF_ERROR(look_below(item, directory->number));
    }
    // What lies below unwritten data, and files without a name.
    return tree_.visit_references(
        [this](const ChunkId& id) -> Status {
          if (id.is_zero() || told_.contains(id)) return ok_status();
          if (const auto error = look_(id)) tell_rest(id, *error);
          return ok_status();
        },
        [this](const ChunkId& page, const Error& error) {
          if (!told_.contains(page) && !pages_told_) tell_rest(page, error);
        });
  }

 private:
  struct Directory {
    InodeNumber number;
    std::string path;
  };

  void tell_rest(const ChunkId& id, const Error& error) {
    told_.insert(id);
    tell_("", {"", 0, 0, error});
  }

  Status look_below(const std::string& item, InodeNumber top) {
    std::vector<Directory> directories{{top, ""}};
    while (!directories.empty()) {
      const Directory directory = std::move(directories.back());
      directories.pop_back();
      const auto entries = tree_.list(directory.number);
      if (!entries.ok()) continue;  // removed meanwhile
      for (const DirectoryEntry& entry : *entries) {
        std::string path = directory.path.empty() ? entry.name : directory.path + "/" + entry.name;
        if (entry.type == InodeType::directory) {
          directories.push_back({entry.number, std::move(path)});
        } else if (entry.type == InodeType::file && seen_.insert(entry.number.value).second) {
          VAULTFS_RETURN_IF_ERROR(look_at_file(item, path, entry.number));
        }
      }
    }
    return ok_status();
  }

  Status look_at_file(const std::string& item, const std::string& path, InodeNumber number) {
    const auto attributes = tree_.attributes(number);
    if (!attributes.ok()) return ok_status();
    const std::uint64_t size = attributes->size;
    Stretch lost(item, path, tell_);
    for (std::uint64_t index = 0; index * kChunkBytes < size;) {
      const std::uint64_t offset = index * kChunkBytes;
      const auto chunk = tree_.chunk_at(number, ChunkIndexInFile(index));
      if (!chunk.ok()) {
        if (!is_integrity_error(chunk.code()) && chunk.code() != ErrorCode::IoError) return ok_status();  // removed
        const std::uint64_t next = (index / kEntriesPerMapPage + 1) * kEntriesPerMapPage;
        lost.add(offset, std::min(size, next * kChunkBytes) - offset, chunk.error());
        pages_told_ = true;
        index = next;
        continue;
      }
      if (chunk->has_value() && (*chunk)->is_zero()) {
        const auto data = tree_.seek_data(number, offset);
        if (!data.ok() && data.code() == ErrorCode::OutOfRange) return ok_status();
        index = data.ok() ? std::max(index + 1, *data / kChunkBytes) : index + 1;
        continue;
      }
      if (chunk->has_value()) {
        if (const auto error = look_(**chunk)) {
          told_.insert(**chunk);
          lost.add(offset, std::min<std::uint64_t>(kChunkBytes, size - offset), *error);
        }
      }
      ++index;
    }
    return ok_status();
  }

  WorkingTree& tree_;
  const ContentLook& look_;
  const LossTeller& tell_;
  std::unordered_set<std::uint64_t> seen_;  // inodes, for hard links
  std::unordered_set<ChunkId> told_;
  bool pages_told_ = false;
};

}  // namespace

Status look_through_tree(WorkingTree& tree, const ContentLook& look, const LossTeller& tell) {
  return TreeLook(tree, look, tell).run();
}

}  // namespace vaultfs
