// Files: their content, their names, and when they are durable.
#include <algorithm>
#include <utility>

#include "tests/simulation/player.h"

namespace vaultfs::sim {
namespace {

// The names in one item, and which file each is.
std::map<std::string, std::uint64_t> item_names(const Names& names, const std::string& item) {
  std::map<std::string, std::uint64_t> of_item;
  for (const auto& [name, file] : names.files) {
    if (name.first == item) of_item[name.second] = file;
  }
  return of_item;
}

bool shows(const Model::Seen& seen, const Names& names) {
  if (seen.items != names.items || seen.files.size() != names.files.size()) return false;
  return std::ranges::all_of(names.files, [&](const auto& file) { return seen.files.contains(file.first); });
}

}  // namespace

std::optional<InodeNumber> Player::inode(const std::string& item, const std::string& file) {
  if (world_.engine == nullptr) return std::nullopt;
  const auto directory = tree().lookup(kRootInode, item);
  if (!directory.ok()) return std::nullopt;
  const auto found = tree().lookup(directory->number, file);
  if (!found.ok()) return std::nullopt;
  return found->number;
}

void Player::names_changed(const std::string& what, Names after, const Status& status) {
  Names before = model_.names();
  for (const std::string& item : after.items) {
    if (item_names(before, item) != item_names(after, item)) changed_.insert(item);
  }
  if (judge(what, status)) return model_.set_names(std::move(after));
  // It may be there for a crash to find, whatever is seen now.
  model_.set_names(after);
  model_.set_names(before);
  if (world_.env.failure_reached()) return;
  const auto seen = read_tree(tree());
  if (seen.ok() && shows(*seen, before)) return;
  if (seen.ok() && shows(*seen, after)) return model_.set_names(std::move(after));
  note("what is there now can't be told");
  kill();
}

std::optional<InodeNumber> Player::make(const std::string& item, const std::string& file) {
  auto directory = tree().lookup(kRootInode, item);
  if (!directory.ok()) {
    Names after = model_.names();
    after.items.insert(item);
    auto made = tree().make_directory(kRootInode, item, 0755, {});
    names_changed("make item", std::move(after), made.ok() ? ok_status() : Status(made.error()));
    if (!made.ok()) return std::nullopt;
    directory = std::move(made);
  }
  if (const auto found = tree().lookup(directory->number, file); found.ok()) return found->number;
  Names after = model_.names();
  after.files[{item, file}] = model_.new_file();
  const auto made = tree().make_node(directory->number, file, InodeType::file, 0644, 0, {});
  names_changed("make", std::move(after), made.ok() ? ok_status() : Status(made.error()));
  if (!made.ok()) return std::nullopt;
  return made->number;
}

void Player::change_file(const Operation& operation) {
  if (!ensure_open()) return;
  const std::string item = kItems.at(operation.a);
  const std::string file = kFiles.at(operation.b);
  const auto number = make(item, file);
  if (!number) return;
  FileContent& content = model_.content(*model_.find(item, file));
  if (!content.certain() && !resolve()) return;
  ContentChange change;
  Status status = ok_status();
  using Mode = WorkingTree::FallocateMode;
  switch (operation.kind) {
    case Kind::write:
      change = {ContentChange::Kind::write, operation.c, 0, true,
                std::make_shared<const Bytes>(seeded_content(operation.e, operation.d))};
      status = tree().write(*number, 0, operation.c, *change.bytes);
      break;
    case Kind::append: {
      change = {ContentChange::Kind::write, content.now().size(), 0, true,
                std::make_shared<const Bytes>(seeded_content(operation.d, operation.c))};
      const auto at = tree().append(*number, 0, *change.bytes);
      if (!at.ok()) status = at.error();
      if (at.ok() && *at != change.offset) throw Finding("content", "an append did not go to the end");
      break;
    }
    case Kind::truncate:
      change = {ContentChange::Kind::truncate, operation.c, 0, true, nullptr};
      status = tree().truncate(*number, operation.c);
      break;
    default:
      change = {ContentChange::Kind::zero, operation.c, operation.d, operation.kind == Kind::zero, nullptr};
      status = tree().fallocate(*number, operation.kind == Kind::zero ? Mode::zero_range : Mode::punch_hole,
                                operation.c, operation.d);
      break;
  }
  changed_.insert(item);
  if (judge("done", status)) {
    content.apply(std::move(change));
  } else {
    content.maybe(std::move(change));
  }
  look_at(item, file);
}

void Player::look_at(const std::string& item, const std::string& file) {
  if (world_.engine == nullptr) return;
  const auto known = model_.find(item, file);
  const auto number = inode(item, file);
  if (known.has_value() != number.has_value()) {
    if (disturbed_) return;
    throw Finding("content", file + " of " + item + (number ? " is there and should not" : " is not there"));
  }
  if (!known) return;
  FileContent& content = model_.content(*known);
  const auto attributes = tree().attributes(*number);
  if (!judge("stat", attributes)) return;
  Bytes seen(attributes->size);
  const auto got = tree().read(*number, 0, seen);
  if (!judge("read", got)) return;
  if (*got != seen.size()) throw Finding("content", "a short read");
  if (content.certain()) {
    if (!bytes_equal(seen, content.now())) {
      throw Finding("content", file + " of " + item + ": " + first_difference(seen, content.now()));
    }
    return;
  }
  if (const auto wrong = content.objection(seen)) throw Finding("content", file + " of " + item + ": " + *wrong);
  content.resolve(std::move(seen));
}

bool Player::resolve() {
  if (world_.engine == nullptr) return !model_.uncertain();
  for (const auto& [name, file] : Names(model_.names()).files) {
    if (!model_.content(file).certain()) look_at(name.first, name.second);
  }
  return !model_.uncertain();
}

void Player::change_names(const Operation& operation) {
  if (!ensure_open()) return;
  const std::string item = kItems.at(operation.a);
  const std::string file = kFiles.at(operation.b);
  const auto directory = tree().lookup(kRootInode, item);
  Names after = model_.names();
  const auto from = after.files.find({item, file});
  if (!directory.ok() || from == after.files.end()) return;
  if (operation.kind == Kind::unlink) {
    after.files.erase(from);
    return names_changed("unlinked", std::move(after), tree().unlink(directory->number, file));
  }
  const std::string other = kFiles.at(operation.c);
  if (other == file) return;
  const auto to = after.files.find({item, other});
  if (operation.kind == Kind::link) {
    const auto number = inode(item, file);
    if (to != after.files.end() || !number) return;
    after.files[{item, other}] = from->second;
    const auto made = tree().make_link(*number, directory->number, other);
    names_changed("linked", std::move(after), made.ok() ? ok_status() : Status(made.error()));
    return look_at(item, other);
  }
  const bool exchange = operation.d == 1 && to != after.files.end();
  if (exchange) {
    std::swap(from->second, to->second);
  } else if (to == after.files.end() || to->second != from->second) {  // two names of one file both stay
    after.files[{item, other}] = from->second;
    after.files.erase({item, file});
  }
  using Mode = WorkingTree::RenameMode;
  names_changed(
      "renamed", std::move(after),
      tree().rename(directory->number, file, directory->number, other, exchange ? Mode::exchange : Mode::replace));
  look_at(item, other);
}

void Player::copy(const Operation& operation) {
  if (!ensure_open()) return;
  const std::string item = kItems.at(operation.a);
  const std::string file = kFiles.at(operation.b);
  const std::string other = kFiles.at(operation.c);
  const auto from = inode(item, file);
  if (!from || other == file || !model_.find(item, file)) return;
  const auto to = make(item, other);
  if (!to || *to == *from || !resolve()) return;
  const Bytes& source = model_.content(*model_.find(item, file)).now();
  FileContent& content = model_.content(*model_.find(item, other));
  const std::uint64_t offset = operation.d;
  const auto copied = tree().copy_range(tree(), {*from, offset}, {*to, offset}, 0, operation.e);
  const std::uint64_t most =
      std::min<std::uint64_t>(operation.e, source.size() - std::min<std::uint64_t>(offset, source.size()));
  const std::uint64_t count = copied.ok() ? *copied : most;
  if (count > most) throw Finding("content", "more was copied than there is");
  ContentChange change{
      ContentChange::Kind::write, offset, 0, true,
      std::make_shared<const Bytes>(source.begin() + static_cast<std::ptrdiff_t>(count == 0 ? 0 : offset),
                                    source.begin() + static_cast<std::ptrdiff_t>(count == 0 ? 0 : offset + count))};
  if (count > 0) changed_.insert(item);
  if (judge("copied", copied)) {
    content.apply(std::move(change));
  } else {
    content.maybe(std::move(change));
  }
  look_at(item, other);
}

void Player::fsync(const Operation& operation) {
  if (!ensure_open()) return;
  const std::string item = kItems.at(operation.a);
  const std::string file = kFiles.at(operation.b);
  const auto number = inode(item, file);
  const auto known = model_.find(item, file);
  if (!number || !known || !resolve()) return;
  if (!judge("fsync", tree().fsync(*number, 0))) return;
  model_.names_durable();
  model_.content(*known).durable();
}

void Player::sync_all() {
  if (!ensure_open() || !resolve()) return;
  if (judge("sync", tree().sync_all())) model_.all_durable();
}

}  // namespace vaultfs::sim
