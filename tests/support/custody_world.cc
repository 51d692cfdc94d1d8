#include "tests/support/custody_world.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr const char* kHeadFile = "/vault/test.head";

void must(const Status& status) {
  if (!status.ok()) std::abort();
}

}  // namespace

Status FakeHost::roll_containers() {
  if (fail_roll) return Error{ErrorCode::IoError, "no roll"};
  ++rolls;
  if (std::exchange(grows_while_rolling, false)) segment = segment.next();
  return ok_status();
}

Status FakeHost::write_head() {
  if (fail_head) return Error{ErrorCode::IoError, "no head"};
  ++heads;
  ByteWriter writer;
  writer.u64(custody_.generation().value);
  writer.id(custody_.keyring_digest());
  return write_file_durably(env_, kHeadFile, writer.view());
}

void FakeHost::record_key_change(JobNumber job, const std::string& what, const std::string& version,
                                 const Error* failure) {
  numbers.push_back(job.value);
  changes.push_back(what + " " + version + " " + (failure == nullptr ? "ok" : std::string(error_name(failure->code))));
}

void FakeHost::ensure_recorded(const KeyUpdate& update) {
  found.push_back(update);
  jobs = std::max(jobs, update.job.value);
}

void FakeHost::record_setting(const std::string& what, const std::string& subject) {
  numbers.push_back(0);
  changes.push_back(what + " " + subject + " ok");
}

CustodyWorld::CustodyWorld() {
  env.make_directories("/vault/keyrings");
  env.make_directories("/home");
  kv = std::make_shared<FakeKeyVault>("kv", env.clock());
  resolver.add(kv);
  v1 = kv->add_version("kek");
  auto opened = MachineState::open(env, "/home");
  if (!opened.ok()) std::abort();
  machine = std::move(opened).value();
  platform_keys = std::make_unique<PlatformKeys>(env, "/home");
  blobs = make_directory_blob_store(env, "/vault");
}

void CustodyWorld::create(const std::optional<std::string>& key, Suite suite) {
  header.id = random_id<VaultId>(env);
  header.created = env.clock().now();
  header.suite = suite;
  if (suite == Suite::aes_gcm_in_xchacha) {
    auto id = platform_keys->create();
    if (!id.ok()) std::abort();
    std::copy(id->view().begin(), id->view().end(), header.infrastructure_key_id.begin());
  }
  KeyCustody::CreateRequest request;
  if (key) request.key = KeyRef::parse(*key).value();
  auto made = KeyCustody::create(context(), header, request, [&](const VaultHeader& final_header) -> Result<Digest> {
    const Bytes bytes = final_header.encode();
    VAULTFS_RETURN_IF_ERROR(write_file_durably(env, "/vault/vault.header", bytes));
    return sha256(bytes);
  });
  if (!made.ok()) std::abort();
  custody = std::move(made).value();
  header_digest = sha256(header.encode());
  host = std::make_unique<FakeHost>(env, *custody);
  must(host->write_head());
  custody->attach(*host);
  custody->record_update_of_before();
}

Status CustodyWorld::open(bool read_only) {
  close();
  VAULTFS_ASSIGN_OR_RETURN(custody, KeyCustody::open(context(), header, header_digest, read_only));
  host = std::make_unique<FakeHost>(env, *custody);
  if (!read_only) {
    custody->attach(*host);
    custody->record_update_of_before();
  }
  return ok_status();
}

void CustodyWorld::close() {
  custody.reset();
  host.reset();
}

std::optional<std::pair<Generation, Digest>> CustodyWorld::head() const {
  if (!env.exists(kHeadFile)) return std::nullopt;
  const Bytes bytes = env.read(kHeadFile);
  ByteReader reader(bytes);
  const Generation generation(reader.u64());
  return std::pair(generation, reader.id<Digest>());
}

std::vector<Env::Path> CustodyWorld::keyring_files() const {
  std::vector<Env::Path> files = env.files("/vault/keyrings");
  std::erase_if(files, [](const Env::Path& file) { return file.extension() != ".keyring"; });
  return files;
}

VersionRole CustodyWorld::role(const std::string& version) const {
  const auto status = custody->status();
  for (auto at = status.versions.rbegin(); at != status.versions.rend(); ++at) {
    if (at->version == version) return at->role;
  }
  std::abort();
}

std::vector<std::string> CustodyWorld::versions_with(VersionRole role) const {
  std::vector<std::string> found;
  for (const VersionRecord& record : custody->status().versions) {
    if (record.role == role) found.push_back(record.version);
  }
  return found;
}

}  // namespace vaultfs
