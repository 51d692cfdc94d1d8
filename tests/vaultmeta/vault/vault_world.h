#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/assert_ok.h"
#include "tests/support/fake_key_vault.h"
#include "tests/support/sim_env.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

using Texts = std::vector<std::string>;

// The error of what should fail; Internal for what did not.
inline ErrorCode code_of(const Status& status) { return status.ok() ? ErrorCode::Internal : status.code(); }

inline bool mentions(const std::vector<std::string>& lines, const std::string& what) {
  for (const std::string& line : lines) {
    if (line.find(what) != std::string::npos) return true;
  }
  return false;
}

// A working tree that is a list of texts: each entry appends one.
class ListTree final : public TreeReplay {
 public:
  Status load(ByteView section) override {
    texts.clear();
    last_ = Lsn();
    ByteReader reader(section);
    while (reader.remaining() > 0) texts.push_back(reader.text(1024));
    return reader.finish(ErrorCode::DamagedCheckpoint, "the list");
  }
  Status apply(Lsn lsn, ByteView entry) override {
    if (lsn <= last_) return Error{ErrorCode::Internal, "entries out of order"};
    last_ = lsn;
    texts.emplace_back(text_of(entry));
    return ok_status();
  }
  [[nodiscard]] Bytes encode() const {
    ByteWriter writer;
    for (const std::string& text : texts) writer.text(text);
    return std::move(writer).take();
  }
  std::vector<std::string> texts;

 private:
  Lsn last_;
};

// A machine with a simulated disk and one vault at /vault, platform-managed unless told otherwise. Its clock stands
// still.
class VaultWorld {
 public:
  explicit VaultWorld(std::uint64_t seed = 1) : env(seed), kv(std::make_shared<FakeKeyVault>("kv", env.clock())) {
    resolver.add(kv);
    start_machine("/home");
  }

  // The machine's own state, from that directory: another directory is another machine.
  void start_machine(const Env::Path& home) {
    auto state = MachineState::open(env, home);
    if (!state.ok()) std::abort();
    machine_state = std::move(*state);
    platform_keys = std::make_unique<PlatformKeys>(env, home);
  }

  [[nodiscard]] Vault::Machine machine() { return {env, *machine_state, *platform_keys, resolver}; }

  [[nodiscard]] static VaultCreateOptions create_options() {
    VaultCreateOptions options;
    options.path = "/vault";
    options.no_recovery = true;
    return options;
  }

  // Of a vault under kv/kek: nothing of it is bound to the machine. REQUIRES: the key has a version.
  [[nodiscard]] static VaultCreateOptions customer_managed_options() {
    VaultCreateOptions options = create_options();
    options.no_recovery = false;
    options.key = KeyRef{"kv", "kek", std::nullopt};
    return options;
  }

  Result<VaultCreated> create(const VaultCreateOptions& options = create_options()) {
    return Vault::create(machine(), options);
  }

  Status open(const VaultOpenOptions& options = {}) { return open_at("/vault", options); }
  Status open_at(const Env::Path& path, VaultOpenOptions options = {}) {
    close_without_a_word();
    options.path = path;
    tree = ListTree();
    auto opened = Vault::open(machine(), options, tree);
    if (!opened.ok()) return opened.error();
    vault = std::move(*opened);
    return ok_status();
  }
  Status open_read_only(bool accept_older = false, bool allow_unverified = false) {
    VaultOpenOptions options;
    options.read_only = true;
    options.accept_older = accept_older;
    options.allow_unverified = allow_unverified;
    return open(options);
  }
  // As the commands that list, restore and verify.
  Status open_for_points() {
    VaultOpenOptions options;
    options.read_only = true;
    options.points_suffice = true;
    return open(options);
  }
  // As a process that ends without closing; what it did not sync stays with the kernel.
  void close_without_a_word() { vault.reset(); }

  // A change of the working tree, not yet durable.
  Status write(const std::string& text) {
    VAULTFS_RETURN_IF_ERROR(vault->journal().append(EntryOwner::tree, to_bytes(bytes_of(text))));
    tree.texts.push_back(text);
    return ok_status();
  }

  static std::string big_content(const std::string& content) { return content + std::string(70'000, '.'); }

  // Stores an item of two files: "small" lists its chunk, "big" has a map page, and its text is longer than a frame.
  Result<Manifest> store(const std::string& content) {
    SegmentStore& segments = vault->segments();
    VAULTFS_ASSIGN_OR_RETURN(const PutOutcome small, segments.put(RecordType::chunk, bytes_of(content)));
    VAULTFS_ASSIGN_OR_RETURN(const PutOutcome big, segments.put(RecordType::chunk, bytes_of(big_content(content))));
    MapPage page;
    page.entries.resize(kEntriesPerMapPage);
    page.entries[0] = big.id;
    VAULTFS_ASSIGN_OR_RETURN(const PutOutcome stored_page, segments.put(RecordType::map_page, page.encode()));
    Manifest manifest;
    manifest.root = InodeNumber(2);
    InodeRecord root;
    root.number = InodeNumber(2);
    root.type = InodeType::directory;
    root.entries = {{"big", InodeNumber(4)}, {"small", InodeNumber(3)}};
    InodeRecord small_file;
    small_file.number = InodeNumber(3);
    small_file.size = content.size();
    small_file.chunks = {small.id};
    InodeRecord big_file;
    big_file.number = InodeNumber(4);
    big_file.size = 9ULL * kChunkBytes;
    big_file.pages = {stored_page.id};
    manifest.inodes = {root, small_file, big_file};
    return manifest;
  }

  // A whole backup of an item; the finished job.
  Result<PointInfo> back_up(const std::string& item, const std::string& content, bool automatic = false) {
    VAULTFS_ASSIGN_OR_RETURN(const JobInfo job, vault->begin_job(JobKind::backup, item));
    VAULTFS_RETURN_IF_ERROR(write(item + "=" + content));
    VAULTFS_ASSIGN_OR_RETURN(Manifest manifest, store(content));
    PointInfo point;
    point.number = vault->catalogue().take_point_number();
    point.item = item;
    point.cut = vault->journal().last_appended().next();
    point.automatic = automatic;
    point.files = 2;
    VAULTFS_RETURN_IF_ERROR(vault->publish_point(std::move(manifest), point, job));
    return vault->catalogue().find_point(item, "");
  }

  // What a point holds; its error, or "wrong content", if it is not what back_up made.
  Result<std::string> content_of(const PointInfo& point) {
    VAULTFS_ASSIGN_OR_RETURN(const Manifest manifest, vault->load_manifest(point));
    const InodeRecord& small = manifest.inodes.at(1);
    const InodeRecord& big = manifest.inodes.at(2);
    VAULTFS_ASSIGN_OR_RETURN(const Bytes content,
                             vault->segments().read_verified(RecordType::chunk, small.chunks.at(0)));
    VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes, vault->segments().read_verified(RecordType::map_page, big.pages.at(0)));
    VAULTFS_ASSIGN_OR_RETURN(const MapPage page, MapPage::decode(bytes));
    VAULTFS_ASSIGN_OR_RETURN(const Bytes large, vault->segments().read_verified(RecordType::chunk, page.entries.at(0)));
    const std::string text(text_of(content));
    return text_of(large) == big_content(text) ? text : std::string("wrong content");
  }

  // Of every point, in their order: "item=content".
  std::vector<std::string> points() {
    std::vector<std::string> all;
    for (const PointInfo& point : vault->catalogue().points()) {
      const auto content = content_of(point);
      all.push_back(point.item + "=" + (content.ok() ? *content : std::string(error_name(content.code()))));
    }
    return all;
  }

  Status checkpoint() {
    return vault->checkpoint([this](const std::function<void()>& cut) -> Result<Bytes> {
      cut();
      return tree.encode();
    });
  }

  Status close() {
    const Status checkpointed = checkpoint();
    const Status closed = vault->close();
    vault.reset();
    return checkpointed.ok() ? closed : checkpointed;
  }

  // The vault's files, to be put back later as an attacker or an old copy would.
  using Files = std::map<Env::Path, Bytes>;
  [[nodiscard]] Files files(const Env::Path& directory = "/vault") const {
    Files all;
    for (const Env::Path& path : env.files(directory)) all[path] = env.read(path);
    return all;
  }
  // Makes everything in `directory` what it was.
  void put_back(const Files& files, const Env::Path& directory = "/vault") {
    for (const Env::Path& path : env.files(directory)) env.remove(path);
    for (const auto& [path, bytes] : files) {
      if (path.string().starts_with(directory.string() + "/")) env.write(path, bytes);
    }
  }

  SimEnv env;
  FakeResolver resolver;
  std::shared_ptr<FakeKeyVault> kv;
  std::unique_ptr<MachineState> machine_state;
  std::unique_ptr<PlatformKeys> platform_keys;
  ListTree tree;
  std::unique_ptr<Vault> vault;
};

}  // namespace vaultfs
