#include "tests/simulation/model.h"

#include <algorithm>

namespace vaultfs::sim {

std::optional<std::uint64_t> Model::find(const std::string& item, const std::string& file) const {
  const auto found = names().files.find({item, file});
  return found == names().files.end() ? std::nullopt : std::optional(found->second);
}

bool Model::uncertain() const {
  return std::ranges::any_of(names().files, [this](const auto& one) { return !files_.at(one.second).certain(); });
}

ItemContent Model::item_now(const std::string& item) const {
  ItemContent content;
  for (const auto& [name, file] : names().files) {
    if (name.first == item) content[name.second] = files_.at(file).kept();
  }
  return content;
}

void Model::set_names(Names names) {
  if (names == names_.back()) return;
  names_.push_back(std::move(names));
}

std::uint64_t Model::new_file(Bytes content) {
  files_.emplace(next_file_, FileContent(std::move(content)));
  return next_file_++;
}

void Model::names_durable() { names_.erase(names_.begin(), names_.end() - 1); }

void Model::all_durable() {
  names_durable();
  std::map<std::uint64_t, FileContent> named;
  for (const auto& [name, file] : names().files) {
    if (named.contains(file)) continue;  // by another name
    FileContent& content = files_.at(file);
    if (content.certain()) content.durable();
    named.emplace(file, std::move(content));
  }
  files_ = std::move(named);
}

void Model::check_now(const Seen& seen) const {
  if (seen.items != names().items) throw Finding("content", "the tree has other items than it was given");
  for (const auto& [name, file] : names().files) {
    const auto found = seen.files.find(name);
    if (found == seen.files.end()) throw Finding("content", name.second + " of " + name.first + " is gone");
    const FileContent& content = files_.at(file);
    if (!content.certain()) {
      if (const auto wrong = content.objection(found->second)) throw Finding("content", name.second + ": " + *wrong);
    } else if (!bytes_equal(found->second, content.now())) {
      throw Finding("content", name.second + " of " + name.first +
                                   " is not what was written: " + first_difference(found->second, content.now()));
    }
  }
  if (seen.files.size() != names().files.size()) throw Finding("content", "the tree has a file that nobody made");
}

std::optional<std::string> Model::objection(const Names& state, const Seen& seen) const {
  if (state.items != seen.items) return "other items";
  if (state.files.size() != seen.files.size()) return "other names";
  for (const auto& [name, file] : state.files) {
    const auto found = seen.files.find(name);
    if (found == seen.files.end()) return "other names";
    if (const auto wrong = files_.at(file).objection(found->second)) {
      return name.second + " of " + name.first + ": " + *wrong;
    }
  }
  return std::nullopt;
}

std::size_t Model::check_allowed(const std::string& promise, const Seen& seen) const {
  std::string why;
  for (std::size_t state = names_.size(); state-- > 0;) {
    const auto wrong = objection(names_[state], seen);
    if (!wrong) return state;
    // What tells most: how the contents differ where the names are right.
    if (why.empty() || why == "other names" || why == "other items") why = *wrong;
  }
  std::string names;
  for (const auto& [name, bytes] : seen.files) names += " " + name.first + "/" + name.second;
  throw Finding(promise, "the working tree is none of the " + std::to_string(names_.size()) +
                             " states that it had since its names were durable; it has" + names + "; " + why);
}

void Model::settle(std::size_t state, Seen seen) {
  Names names = names_.at(state);
  std::map<std::uint64_t, FileContent> left;
  for (const auto& [name, file] : names.files) left.emplace(file, FileContent(std::move(seen.files.at(name))));
  files_ = std::move(left);
  names_.assign(1, std::move(names));
}

bool same_content(const ItemContent& one, const ItemContent& other) {
  return std::ranges::equal(one, other, [](const auto& a, const auto& b) {
    return a.first == b.first && (a.second == b.second || bytes_equal(*a.second, *b.second));
  });
}

void Model::attempt(const std::string& item, ItemContent content) {
  std::vector<ItemContent>& of_item = attempts_[item];
  if (of_item.empty() || of_item.back() != content) of_item.push_back(std::move(content));
}

namespace {

// A cut in the middle of one operation: of each file any mixture of what it was before and after.
bool lies_between(const ItemContent& before, const ItemContent& after, const ItemContent& content) {
  for (const auto& [name, bytes] : content) {
    const auto was = before.find(name);
    const auto is = after.find(name);
    FileContent file(was == before.end() ? Bytes() : *was->second);
    if (is != after.end()) file.apply({ContentChange::Kind::whole, 0, 0, true, is->second});
    if ((was == before.end() && is == after.end()) || file.objection(*bytes)) return false;
  }
  const auto is_there = [&](const auto& file) {
    return content.contains(file.first) || !before.contains(file.first) || !after.contains(file.first);
  };
  return std::ranges::all_of(before, is_there) && std::ranges::all_of(after, is_there);
}

}  // namespace

bool Model::newest_point_has(const std::string& item, const ItemContent& content) const {
  for (auto point = points_.rbegin(); point != points_.rend(); ++point) {
    if (point->second.item == item) return same_content(point->second.content, content);
  }
  return false;
}

bool Model::was_attempted(const std::string& item, const ItemContent& content) const {
  const auto found = attempts_.find(item);
  if (found == attempts_.end()) return false;
  const std::vector<ItemContent>& attempts = found->second;
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    if (same_content(attempts[i], content)) return true;
    if (i > 0 && lies_between(attempts[i - 1], attempts[i], content)) return true;
  }
  return false;
}

void Model::adopt_point(std::uint64_t number, const std::string& item, const ItemContent& content) {
  if (!points_.empty() && number <= points_.rbegin()->first) {
    throw Finding("identifiers", "point " + std::to_string(number) + " is new and not the highest");
  }
  if (!was_attempted(item, content)) {
    throw Finding("points", "point " + std::to_string(number) + " of " + item + " holds no state that was committed");
  }
  points_[number] = {item, content};
}

}  // namespace vaultfs::sim
