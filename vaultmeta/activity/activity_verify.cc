#include "vaultmeta/activity/activity_verify.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "store/record/container.h"
#include "store/record/record_scanner.h"
#include "store/segment/file/segment_recovery.h"
#include "vaultmeta/heads/head.h"
#include "vaultmeta/heads/head_files.h"
#include "vaultmeta/layout/vault_layout.h"
#include "vaultmeta/vault/opening.h"

namespace vaultfs {
namespace {

// One piece of damage a line. Beyond that the log is told to be damaged further.
constexpr std::size_t kMostActivityDamage = 10'000;

std::string range(std::uint64_t first, std::uint64_t last) {
  if (first == last) return "entry " + std::to_string(first);
  return "entries " + std::to_string(first) + " to " + std::to_string(last);
}

std::string verb(std::uint64_t first, std::uint64_t last) { return first == last ? " is " : " are "; }

// Walks over the files in the order of their numbers, and over damage: behind it the chain goes on from the chain value
// of the next entry that is genuine.
class ActivityWalk {
 public:
  ActivityWalk(const EpochKeys* keys, const ActivityExpectation& expected) : keys_(keys), expected_(expected) {
    report_.authenticated = keys != nullptr;
  }

  // Errors are those that say nothing of the file.
  Status file(ContainerNumber number, File& file) {
    VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, file.size());
    RecordScanner scanner(file, ContainerHeader::kEncodedBytes, file_bytes);
    VAULTFS_ASSIGN_OR_RETURN(auto found, scanner.next());
    ++report_.files;
    number_ = number;
    name_ = kActivityFiles.file(number.value);
    first_of_file_ = true;
    hole_ = false;
    const bool has_records = found.has_value();
    VAULTFS_RETURN_IF_ERROR(open_header(file, has_records));
    // What lies in a file that is not genuine has no say in which entries there are. Behind the last record is a torn
    // end: whether an entry was promised there shows in what follows.
    while (readable_ && found.has_value()) {
      if (scanner.gap_bytes() > 0) hole_ = true;  // the number of the next record tells what was here
      take(found->header, found->stored);
      VAULTFS_ASSIGN_OR_RETURN(found, scanner.next());
    }
    previous_ = number;
    previous_unreadable_ = has_records && !readable_;
    return ok_status();
  }

  // What can't be a file of the log at all.
  void unreadable(ContainerNumber number, const Error& why) {
    damage(next_, kActivityFiles.file(number.value), "it is no file of the log: " + why.message);
  }

  ActivityReport finish() {
    const std::string end = kActivityFiles.file(std::max<std::uint64_t>(previous_.value, 1));
    const auto last = entries_.find(expected_.entries);
    if (next_ <= expected_.entries && !previous_unreadable_) {
      damage(
          next_, end,
          range(next_, expected_.entries) + verb(next_, expected_.entries) +
              "missing: the end of this file is damaged or cut off, or a file behind it is gone; the vault knows of " +
              std::to_string(expected_.entries));
    } else if (last != entries_.end() && expected_.chain && last->second.chain &&
               *last->second.chain != *expected_.chain) {
      damage(expected_.entries, kActivityFiles.file(last->second.file),
             "it is not the one that the vault knows: this is another history");
    } else if (last != entries_.end() && expected_.file.value != 0 && last->second.file != expected_.file.value) {
      damage(expected_.entries, kActivityFiles.file(expected_.file.value),
             "the vault knows this entry in this file, but it stands in " + kActivityFiles.file(last->second.file));
    }
    report_.entries = static_cast<std::uint64_t>(
        std::count_if(entries_.begin(), entries_.end(), [](const auto& entry) { return entry.second.good; }));
    return std::move(report_);
  }

 private:
  struct Known {
    std::optional<Digest> chain;  // unknown without keys, and behind damage
    std::uint64_t file = 0;
    bool good = false;
  };

  void damage(std::uint64_t entry, const std::string& file, const std::string& what) {
    reported_ = entry;
    if (report_.damage.size() > kMostActivityDamage) return;
    if (report_.damage.size() == kMostActivityDamage) {
      report_.damage.push_back({entry, file, {ErrorCode::DamagedActivityLog, "this and more behind it is damaged"}});
      return;
    }
    report_.damage.push_back({entry, file, {ErrorCode::DamagedActivityLog, what}});
  }

  // Errors are those that say nothing of the file.
  Status open_header(File& file, bool has_records) {
    cipher_.reset();
    readable_ = false;
    closed_epoch_ = false;
    // A file whose header never reached the disk has no entry that anybody was promised.
    const auto header = ContainerHeader::read(file);
    if (!header.ok()) {
      if (header.code() == ErrorCode::IoError) return header.error();
      if (has_records) damage(next_, name_, "the file's header is damaged: " + header.error().message);
      return ok_status();
    }
    if (keys_ == nullptr) {
      readable_ = header->kind == ContainerKind::activity && header->number == number_;
      if (!readable_) damage(next_, name_, "the file is another one than its name says");
      return ok_status();
    }
    closed_epoch_ = is_closed_epoch(*keys_, header->epoch);
    auto cipher = ContainerCipher::open(*keys_, *header, ContainerKind::activity, number_);
    if (!cipher.ok()) {
      if (!is_integrity_error(cipher.code())) return std::move(cipher).error();
      damage(next_, name_, "the file is not genuine: " + cipher.error().message);
      return ok_status();
    }
    cipher_ = std::move(cipher).value();
    readable_ = true;
    return ok_status();
  }

  void take(const RecordHeader& record, ByteView bytes) {
    if (record.type != RecordType::activity_entry || record.clear || record.sequence == 0 ||
        record.sequence == std::numeric_limits<std::uint64_t>::max()) {
      return refuse("a record of another kind is in the log");
    }
    Known known;
    known.file = number_.value;
    known.good = true;
    std::optional<ActivityEntry> entry;
    if (cipher_ != nullptr) {
      auto opened = open_entry(record, bytes);
      // Its number is not to be believed either: the next entry's tells what was here.
      if (!opened.ok()) return refuse(opened.error().message);
      entry = std::move(opened).value();
      known.chain = entry->chain;
    }
    if (forged_by_an_old_key(record.sequence)) {
      return refuse("it was made with the key of a DEK epoch that was closed before it");
    }
    if (!find_place(record.sequence)) return;
    if (entry && !continues_chain(*entry)) {
      known.good = false;
      damage(record.sequence, name_, "it does not continue the chain");
    }
    entries_[record.sequence] = known;
    next_ = record.sequence + 1;
    hole_ = false;
  }

  void refuse(const std::string& what) {
    damage(next_, name_, what);
    hole_ = true;
  }

  [[nodiscard]] bool forged_by_an_old_key(std::uint64_t number) const {
    const bool found = !expected_.made_since.contains(number_);
    return expected_.closed_epochs_end_above && found && closed_epoch_ && number > *expected_.closed_epochs_end_above;
  }

  // False if the entry has no place. Entries that are missing before it are told, and their places left empty.
  bool find_place(std::uint64_t number) {
    const bool first = std::exchange(first_of_file_, false);
    if (number < next_) {
      // A file that starts again at an earlier number follows an append that failed: nobody was promised what it
      // replaces.
      if (first) {
        entries_.erase(entries_.lower_bound(number), entries_.end());
        return true;
      }
      damage(number, name_, "there are two entries with this number");
      return false;
    }
    if (number == next_) {
      if (hole_ && reported_ != number) damage(number, name_, "something lies before it in the file that is no entry");
      return true;
    }
    const bool told = hole_ ? reported_ == next_ && number == next_ + 1 : first && previous_unreadable_;
    if (told) return true;
    const std::string what = range(next_, number - 1) + verb(next_, number - 1);
    if (hole_) {
      damage(next_, name_, what + "damaged");
    } else if (!first) {
      damage(next_, name_, what + "missing in the midst of the file");
    } else if (previous_.next() != number_) {
      damage(next_, kActivityFiles.file(previous_.next().value), what + "missing: the file is gone");
    } else if (previous_.value == 0) {
      damage(next_, name_, what + "missing at the beginning of the file");
    } else {
      damage(next_, kActivityFiles.file(previous_.value), what + "missing: the end of the file is damaged or cut off");
    }
    return true;
  }

  Result<ActivityEntry> open_entry(const RecordHeader& record, ByteView bytes) const {
    VAULTFS_ASSIGN_OR_RETURN(const Bytes plain, open_record(*cipher_, record, bytes));
    VAULTFS_ASSIGN_OR_RETURN(ActivityEntry entry, decode_activity_entry(plain));
    if (entry.number != record.sequence) return Error{ErrorCode::DamagedActivityLog, "an entry has two numbers"};
    return entry;
  }

  [[nodiscard]] bool continues_chain(const ActivityEntry& entry) const {
    if (entry.number == 1) return entry.chain == activity_chain_after(Digest{}, entry);
    const auto before = entries_.find(entry.number - 1);
    if (before == entries_.end() || !before->second.chain) return true;  // damage that was told
    return entry.chain == activity_chain_after(*before->second.chain, entry);
  }

  const EpochKeys* keys_;
  const ActivityExpectation& expected_;
  ActivityReport report_;
  // By number. A map, because without keys anybody can write any number.
  std::map<std::uint64_t, Known> entries_;
  std::uint64_t next_ = 1;
  std::uint64_t reported_ = 0;  // the entry of the damage told last
  ContainerNumber previous_;    // the file before; 0: none
  bool previous_unreadable_ = false;
  // Of the file that is being read.
  ContainerNumber number_;
  std::string name_;
  std::unique_ptr<ContainerCipher> cipher_;
  bool readable_ = false;
  bool closed_epoch_ = false;
  bool first_of_file_ = true;
  bool hole_ = false;  // bytes that are no record lie before the next one
};

}  // namespace

Bytes encode_activity_entry(const ActivityEntry& entry) {
  ByteWriter writer;
  writer.u64(entry.number);
  writer.i64(entry.time.value);
  writer.text(entry.operation);
  writer.text(entry.outcome);
  writer.text(entry.subject);
  writer.text(entry.detail);
  writer.u32(entry.uid);
  return std::move(writer).take();
}

Digest activity_chain_after(const Digest& before, const ActivityEntry& entry) {
  return sha256({before.view(), encode_activity_entry(entry)});
}

Result<ActivityEntry> decode_activity_entry(ByteView bytes) {
  ByteReader reader(bytes);
  ActivityEntry entry;
  entry.number = reader.u64();
  entry.time.value = reader.i64();
  entry.operation = reader.text(kMaxActivityShortText);
  entry.outcome = reader.text(kMaxActivityShortText);
  entry.subject = reader.text(kMaxActivitySubject);
  entry.detail = reader.text(kMaxActivityDetail);
  entry.uid = reader.u32();
  entry.chain = reader.id<Digest>();
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedActivityLog, "an activity entry"));
  return entry;
}

bool is_closed_epoch(const EpochKeys& keys, EpochNumber epoch) {
  const auto closed = keys.with_dek(
      epoch, [](const EpochKeys::Epoch& found) -> Result<bool> { return found.last_segment.has_value(); });
  return closed.ok() && *closed;
}

Result<ActivityReport> verify_activity_files(Env& env, const std::filesystem::path& directory, const EpochKeys* keys,
                                             const ActivityExpectation& expected) {
  ActivityWalk walk(keys, expected);
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env.list(directory));
  for (const std::string& name : names) {
    const auto number = number_of(name, kActivityFiles.extension);
    if (!number.has_value()) continue;
    const auto file = env.open(directory / name, OpenMode::read_only);
    const Status walked = file.ok() ? walk.file(ContainerNumber(*number), **file) : Status(file.error());
    if (walked.ok()) continue;
    const ErrorCode code = walked.code();
    if (code == ErrorCode::IoError || code == ErrorCode::NotFound || ends_the_opening(code)) return walked.error();
    walk.unreadable(ContainerNumber(*number), walked.error());
  }
  return walk.finish();
}

Result<ActivityReport> verify_activity_keyless(Env& env, const std::filesystem::path& path) {
  VaultDirectory directory(env, path);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  Digest header_digest;
  VAULTFS_ASSIGN_OR_RETURN(const VaultHeader header, read_vault_header(directory, header_digest));
  const auto blobs = make_directory_blob_store(directory, directory.place());
  // The head before the files: a live owner adds entries meanwhile, and takes none away.
  ActivityExpectation expected;
  VAULTFS_ASSIGN_OR_RETURN(auto heads, list_numbers(*blobs, kHeadFiles));
  std::optional<Error> failure;
  for (auto number = heads.rbegin(); number != heads.rend(); ++number) {
    // One that has no more than a head's name says nothing.
    const auto head = read_head_form(*blobs, header.id, Generation(*number));
    if (head.ok()) {
      expected.entries = head->head.activity_entries;
      expected.file = head->head.activity_file;
      failure.reset();
      break;
    }
    if (!failure) failure = head.error();
  }
  if (failure) return *failure;
  return verify_activity_files(directory, directory.place() / kActivityFiles.name, nullptr, expected);
}

}  // namespace vaultfs
