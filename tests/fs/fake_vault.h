#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/byte_codec.h"
#include "fs/working_tree.h"
#include "store/journal.h"
#include "store/segment_store.h"
#include "store/stream.h"
#include "tests/support/assert_ok.h"
#include "tests/support/sim_env.h"
#include "tests/support/test_epoch_keys.h"
#include "vaultmeta/vault.h"

namespace vaultfs {

// A vault with a real segment store and a real journal but without keyring, heads and points: what the working tree
// needs of one, on any Env.
class FakeVault final : public Vault {
 public:
  static constexpr const char* kPath = "/vault";

  // Makes the directories of a new vault.
  [[nodiscard]] static Status create(Env& env, const std::filesystem::path& path = kPath) {
    VAULTFS_RETURN_IF_ERROR(env.make_directory(path));
    for (const char* folder : {"segments", "journal", "checkpoints", "index"}) {
      VAULTFS_RETURN_IF_ERROR(env.make_directory(path / folder));
    }
    VAULTFS_RETURN_IF_ERROR(env.sync_directory(path));
    return env.sync_directory(path.parent_path());
  }

  [[nodiscard]] static Result<std::unique_ptr<FakeVault>> open(Env& env, TreeReplay& tree, bool read_only = false,
                                                               const std::filesystem::path& path = kPath) {
    std::unique_ptr<FakeVault> vault(new FakeVault(env, path, read_only));
    VAULTFS_RETURN_IF_ERROR(vault->load(tree));
    return vault;
  }

  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }
  [[nodiscard]] const std::filesystem::path& place() const override { return path_; }
  [[nodiscard]] VaultDirectory& directory() override { std::abort(); }
  [[nodiscard]] const VaultHeader& header() const override { return header_; }
  [[nodiscard]] bool read_only() const override { return read_only_; }
  [[nodiscard]] Env& env() override { return env_; }
  [[nodiscard]] EpochKeys& keys() override { return *keys_; }
  [[nodiscard]] KeyCustody& custody() override { std::abort(); }
  [[nodiscard]] SegmentStore& segments() override { return *segments_; }
  [[nodiscard]] Journal& journal() override { return *journal_; }
  [[nodiscard]] Catalogue& catalogue() override { return catalogue_; }
  [[nodiscard]] ActivityLog& activity() override { std::abort(); }
  [[nodiscard]] const std::vector<std::string>& opening_notes() const override { return notes_; }
  [[nodiscard]] Result<Lsn> log_catalogue(Bytes) override { std::abort(); }
  [[nodiscard]] Result<JobInfo> begin_job(JobKind, const std::string&) override { std::abort(); }
  [[nodiscard]] Status finish_job(JobInfo, std::optional<PointNumber>) override { std::abort(); }
  [[nodiscard]] Status publish_point(Manifest, PointInfo, JobInfo) override { std::abort(); }
  [[nodiscard]] Result<Manifest> load_manifest(const PointInfo&) override { std::abort(); }
  [[nodiscard]] Status set_renewing(bool) override { std::abort(); }
  [[nodiscard]] Result<EpochNumber> manifest_epoch(const PointInfo&) override { std::abort(); }
  [[nodiscard]] Status renew_point(PointNumber, PointSegments&) override { std::abort(); }
  [[nodiscard]] Result<std::vector<Manifest::SegmentNeeded>> inventory_of(const SupersededManifest&) override {
    std::abort();
  }
  [[nodiscard]] Status end_grace() override { std::abort(); }
  [[nodiscard]] Status forget_superseded(UnixNanos) override { std::abort(); }
  [[nodiscard]] Status write_head() override { return ok_status(); }
  void segments_moved() override {}
  void warn(const std::string&, const Error&) override {}
  [[nodiscard]] Status close() override {
    VAULTFS_RETURN_IF_ERROR(journal_->commit());
    VAULTFS_RETURN_IF_ERROR(segments_->close_segment());
    return journal_->close_cleanly();
  }

  [[nodiscard]] Status checkpoint(const EncodeTree& encode_tree) override {
    const ContainerNumber number(++last_checkpoint_);
    VAULTFS_ASSIGN_OR_RETURN(const ContainerNumber replay_from, journal_->rotate(number));
    Lsn cut;
    VAULTFS_ASSIGN_OR_RETURN(const Bytes tree, encode_tree([&] { cut = journal_->last_appended(); }));
    VAULTFS_RETURN_IF_ERROR(journal_->commit_up_to(cut));
    VAULTFS_RETURN_IF_ERROR(segments_->sync());
    ByteWriter content;
    content.u64(cut.value);
    content.u64(replay_from.value);
    content.blob(tree);
    VAULTFS_ASSIGN_OR_RETURN(const Bytes file,
                             seal_stream(env_, *keys_, ContainerKind::checkpoint, number, content.view()));
    VAULTFS_RETURN_IF_ERROR(blobs_->put("checkpoints/" + numbered_name(number.value, "checkpoint"), file));
    return remove_journals_below(replay_from.value);
  }

 private:
  FakeVault(Env& env, std::filesystem::path path, bool read_only)
      : env_(env), path_(std::move(path)), read_only_(read_only), keys_(make_test_keys()) {
    blobs_ = make_directory_blob_store(env_, path_);
  }

  [[nodiscard]] Status remove_journals_below(std::uint64_t keep) {
    VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(path_ / "journal"));
    for (const std::string& name : names) {
      if (number_of(name, "journal").value_or(keep) < keep) {
        VAULTFS_RETURN_IF_ERROR(env_.remove_file(path_ / "journal" / name));
      }
    }
    return ok_status();
  }

  [[nodiscard]] Status load(TreeReplay& tree) {
    SegmentRecovery recovery;
    SegmentStore::Options options;
    options.read_only = read_only_;
    VAULTFS_ASSIGN_OR_RETURN(segments_, SegmentStore::open(env_, path_, *blobs_, *keys_, options, recovery));
    if (!recovery.damaged.empty()) return recovery.damaged.front().second;
    Lsn cut;
    ContainerNumber replay_from(1);
    VAULTFS_ASSIGN_OR_RETURN(const auto checkpoints, blobs_->list("checkpoints"));
    for (const std::string& name : checkpoints) {
      last_checkpoint_ = std::max(last_checkpoint_, number_of(name, "checkpoint").value_or(0));
    }
    if (last_checkpoint_ == 0) {
      VAULTFS_RETURN_IF_ERROR(tree.load({}));
    } else {
      const std::string name = "checkpoints/" + numbered_name(last_checkpoint_, "checkpoint");
      VAULTFS_ASSIGN_OR_RETURN(const Bytes file, blobs_->get(name, 1ULL << 32));
      VAULTFS_ASSIGN_OR_RETURN(const OpenedStream stream,
                               open_stream(*keys_, ContainerKind::checkpoint, ContainerNumber(last_checkpoint_), file,
                                           ErrorCode::DamagedCheckpoint));
      ByteReader reader(stream.content);
      cut = Lsn(reader.u64());
      replay_from = ContainerNumber(reader.u64());
      VAULTFS_RETURN_IF_ERROR(tree.load(reader.blob(0xffffffff)));
    }
    const auto apply = [&](Lsn lsn, JournalRoom room, ByteView entry) {
      return room == JournalRoom::tree ? tree.apply(lsn, entry) : ok_status();
    };
    JournalReplayRange range;
    range.first = replay_from;
    range.after = range.required = cut;
    VAULTFS_ASSIGN_OR_RETURN(const JournalReplay replay,
                             replay_journals(env_, path_ / "journal", *keys_, range, apply));
    if (read_only_) return ok_status();
    VAULTFS_ASSIGN_OR_RETURN(journal_,
                             Journal::create(env_, path_ / "journal", *keys_,
                                             {std::max(replay.last_journal, ContainerNumber(replay_from.value)).next(),
                                              replay.last, ContainerNumber(last_checkpoint_), replay.accepted},
                                             [this] { return segments_->sync(); }, {}));
    return ok_status();
  }

  Env& env_;
  const std::filesystem::path path_;
  const bool read_only_;
  VaultHeader header_;
  std::unique_ptr<EpochKeys> keys_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<SegmentStore> segments_;
  std::unique_ptr<Journal> journal_;
  std::uint64_t last_checkpoint_ = 0;
  Catalogue catalogue_;  // empty
  std::vector<std::string> notes_;
};

// Remembers what the tree told.
class RecordingObserver final : public ChangeObserver {
 public:
  Status before_change(const std::string& item) override {
    const std::lock_guard lock(mutex_);
    ++changes_[item];
    if (refuse_.has_value()) return *refuse_;
    return ok_status();
  }
  void write_failed(const std::string& item, const Error& error) override {
    const std::lock_guard lock(mutex_);
    failures_.emplace_back(item, error.code);
  }
  [[nodiscard]] std::size_t changes(const std::string& item) {
    const std::lock_guard lock(mutex_);
    return changes_[item];
  }
  [[nodiscard]] std::vector<std::pair<std::string, ErrorCode>> failures() {
    const std::lock_guard lock(mutex_);
    return failures_;
  }
  void refuse(std::optional<Error> error) {
    const std::lock_guard lock(mutex_);
    refuse_ = std::move(error);
  }

 private:
  std::mutex mutex_;  // guards all below
  std::map<std::string, std::size_t> changes_;
  std::vector<std::pair<std::string, ErrorCode>> failures_;
  std::optional<Error> refuse_;
};

// A tree at work over a vault; opened and crashed at will.
class TreeUnderTest {
 public:
  explicit TreeUnderTest(Env& env, WorkingTree::Options options = small_options()) : env_(env), options_(options) {}
  ~TreeUnderTest() { drop(); }

  static WorkingTree::Options small_options() {
    WorkingTree::Options options;
    options.flush_seconds = 0;
    options.sealing_workers = 2;
    options.frame_cache_bytes = 8U << 20;
    return options;
  }

  [[nodiscard]] Status open(bool read_only = false) {
    drop();
    tree_ = WorkingTree::create(options_);
    VAULTFS_ASSIGN_OR_RETURN(vault_, FakeVault::open(env_, *tree_, read_only, path));
    tree_->start(*vault_, observer);
    return ok_status();
  }
  // Ends without flushing anything, as a killed process does.
  void drop() {
    tree_.reset();
    vault_.reset();
  }
  [[nodiscard]] Status close() {
    Status status = tree_->stop();
    if (status.ok()) status = vault_->close();
    drop();
    return status;
  }

  WorkingTree& operator*() { return *tree_; }
  WorkingTree* operator->() { return tree_.get(); }
  [[nodiscard]] FakeVault& vault() { return *vault_; }

  RecordingObserver observer;
  std::filesystem::path path = FakeVault::kPath;

 private:
  Env& env_;
  WorkingTree::Options options_;
  std::unique_ptr<FakeVault> vault_;
  std::unique_ptr<WorkingTree> tree_;
};

[[nodiscard]] inline std::string message_of(const Status& status) {
  return status.ok() ? "ok" : std::string(error_name(status.code())) + ": " + status.error().message;
}

// Bytes that compress badly and differ by seed.
[[nodiscard]] inline Bytes noise(std::size_t size, std::uint64_t seed) {
  Bytes bytes(size);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
  for (std::byte& byte : bytes) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    byte = static_cast<std::byte>(state >> 24U);
  }
  return bytes;
}

[[nodiscard]] inline Result<Bytes> read_all(FileTree& tree, InodeNumber inode) {
  VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, tree.attributes(inode));
  Bytes bytes(attributes.size);
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t got, tree.read(inode, 0, bytes));
  if (got != bytes.size()) return Error{ErrorCode::IoError, "a short read"};
  return bytes;
}

}  // namespace vaultfs
