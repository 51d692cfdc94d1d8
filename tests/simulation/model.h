#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "fs/engine/vault_engine.h"
#include "tests/simulation/content.h"
#include "tests/simulation/finding.h"

namespace vaultfs::sim {

inline constexpr std::array<const char*, 2> kItems{"item-of-the-first", "item-of-the-second"};
inline constexpr std::array<const char*, 3> kFiles{"disk-of-name-one", "disk-of-name-two", "disk-of-name-three"};

// Names of an item's files, and what is in each.
using ItemContent = std::map<std::string, std::shared_ptr<const Bytes>>;

[[nodiscard]] bool same_content(const ItemContent& one, const ItemContent& other);

// The names of the working tree, each with the number of the file that has it.
struct Names {
  std::set<std::string> items;
  std::map<std::pair<std::string, std::string>, std::uint64_t> files;
  bool operator==(const Names&) const = default;
};

// A recovery point as it was made.
struct ModelPoint {
  std::string item;
  ItemContent content;
};

// What the vault must hold: the working tree as it must look, the states of it that a power loss may leave, and the
// recovery points, which nothing changes.
class Model {
 public:
  // --- The working tree now.
  [[nodiscard]] const Names& names() const { return names_.back(); }
  [[nodiscard]] std::optional<std::uint64_t> find(const std::string& item, const std::string& file) const;
  [[nodiscard]] FileContent& content(std::uint64_t file) { return files_.at(file); }
  [[nodiscard]] const FileContent& content(std::uint64_t file) const { return files_.at(file); }
  // True if any file's content is not known for certain.
  [[nodiscard]] bool uncertain() const;
  [[nodiscard]] ItemContent item_now(const std::string& item) const;

  // A change of names that succeeded; a crash may leave it or not, but none without those before it.
  void set_names(Names names);
  // A file that is empty, in no name yet.
  [[nodiscard]] std::uint64_t new_file(Bytes content = {});
  // fsync: every change of names is durable. Of this file what it holds, too.
  void names_durable();
  void all_durable();

  // What a tree shows, read by the simulation.
  struct Seen {
    std::set<std::string> items;
    std::map<std::pair<std::string, std::string>, Bytes> files;
  };
  // The running engine's tree shows `seen`: as it must.
  void check_now(const Seen& seen) const;
  // A crash left this, or a reader beside the owner sees it: some state since names and contents were last durable.
  // Gives which state of the names it is.
  [[nodiscard]] std::size_t check_allowed(const std::string& promise, const Seen& seen) const;
  // After a crash: from here on this is what there is, durably.
  void settle(std::size_t state, Seen seen);

  // --- Recovery points.
  // The item has this now, and may be committed: by what is asked for, by a timer, at the end of the engine. A point
  // that comes has one of these, or something between one and the next.
  void attempt(const std::string& item, ItemContent content);
  [[nodiscard]] const std::map<std::uint64_t, ModelPoint>& points() const { return points_; }
  // A point that the vault has and nobody was told of: one of the attempts.
  void adopt_point(std::uint64_t number, const std::string& item, const ItemContent& content);
  [[nodiscard]] bool was_attempted(const std::string& item, const ItemContent& content) const;
  [[nodiscard]] bool newest_point_has(const std::string& item, const ItemContent& content) const;
  void forget_attempts() { attempts_.clear(); }

 private:
  [[nodiscard]] std::optional<std::string> objection(const Names& state, const Seen& seen) const;

  std::vector<Names> names_{Names{}};  // the first one is durable, the last one is now
  std::map<std::uint64_t, FileContent> files_;
  std::uint64_t next_file_ = 1;
  std::map<std::uint64_t, ModelPoint> points_;
  std::map<std::string, std::vector<ItemContent>> attempts_;
};

}  // namespace vaultfs::sim
