// What was attempted and left no work behind: it is recorded all the same.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/thread/mutex.h"
#include "crypto/aead.h"
#include "vaultmeta/catalogue/catalogue_change.h"
#include "vaultmeta/vault/opened_vault.h"

namespace vaultfs {
namespace {

constexpr std::array kAttemptKinds{std::pair("backup", JobKind::backup), std::pair("restore", JobKind::restore),
                                   std::pair("reencrypt", JobKind::reencryption)};

std::string attempt_name(JobKind kind) {
  for (const auto& [name, known] : kAttemptKinds) {
    if (known == kind) return name;
  }
  return "key-update";
}

std::string outcome_of(const JobInfo& job) {
  if (job.state == JobState::cancelled) return "Cancelled";
  if (job.state != JobState::failed) return "Succeeded";
  return job.detail.substr(0, job.detail.find(':'));
}

// Item and detail may tell names: what the machine keeps of them is sealed under a key of its own that only the vault's
// root key gives. The nonce is the key's.
constexpr std::string_view kDetailsLabel = "vaultfs kept attempt";
constexpr std::size_t kDetailsNonceBytes = 16;
constexpr std::size_t kMaxDetailsBytes = 4096;

Result<std::unique_ptr<Aead>> details_aead(const KeyCustody& custody, ByteView nonce) {
  VAULTFS_ASSIGN_OR_RETURN(const Digest key, custody.root_mac(kDetailsLabel, nonce));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer secret, SecretBuffer::copy_of(key.view()));
  return make_aes_256_gcm(secret);
}

Result<std::string> seal_details(const KeyCustody& custody, Env& env, const JobInfo& job) {
  ByteWriter writer;
  writer.text(job.item);
  writer.i64(job.started.value);
  writer.u64(job.logical_bytes);
  writer.text(std::string_view(job.detail).substr(0, kMaxDetailsBytes / 4));
  Bytes nonce(kDetailsNonceBytes);
  env.fill_random(nonce);
  VAULTFS_ASSIGN_OR_RETURN(const auto aead, details_aead(custody, nonce));
  Bytes sealed(writer.size() + kAeadTagBytes);
  VAULTFS_RETURN_IF_ERROR(aead->seal(Bytes(aead->nonce_bytes()), {}, writer.view(), sealed));
  append(nonce, sealed);
  return to_hex(nonce);
}

// Leaves the job as it is if they are not there or not of this vault.
void open_details(const KeyCustody& custody, const std::string& hex, JobInfo& job) {
  Bytes bytes;
  if (hex.size() > 2 * kMaxDetailsBytes || !from_hex(hex, bytes)) return;
  if (bytes.size() < kDetailsNonceBytes + kAeadTagBytes) return;
  const ByteView nonce = ByteView(bytes).first(kDetailsNonceBytes);
  const ByteView sealed = ByteView(bytes).subspan(kDetailsNonceBytes);
  const auto aead = details_aead(custody, nonce);
  if (!aead.ok()) return;
  Bytes content(sealed.size() - kAeadTagBytes);
  if (!(*aead)->open(Bytes((*aead)->nonce_bytes()), {}, sealed, content).ok()) return;
  ByteReader reader(content);
  JobInfo read = job;
  read.item = reader.text(kMaxNameBytes);
  read.started.value = reader.i64();
  read.logical_bytes = reader.u64();
  read.detail = reader.text(kMaxDetailsBytes);
  if (!reader.failed()) job = read;
}

bool may_name_an_item(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name.find('/') == std::string::npos;
}

}  // namespace

Result<JobInfo> OpenedVault::begin_asked_job(JobKind kind, const std::string& item) {
  bool recorded = false;
  auto job = start_job(kind, item, recorded);
  if (job.ok() || recorded) return job;
  JobInfo failed;
  failed.kind = kind;
  failed.item = item;
  failed.state = JobState::failed;
  failed.detail = std::string(error_name(job.code())) + ": " + job.error().message;
  record_attempt(std::move(failed));
  return job;
}

void OpenedVault::record_attempt(JobInfo job) {
  if (parts_.read_only) return;
  if (job.ended.value == 0) job.ended = parts_.machine.env.clock().now();
  if (job.started.value == 0) job.started = job.ended;
  if (!may_name_an_item(job.item)) job.item.clear();
  job.number = parts_.catalogue->take_job_number();
  Status logged = job.kind == JobKind::backup ? parts_.custody->item_attempted() : ok_status();
  if (logged.ok()) {
    const MutexLock lock(change_mutex_);
    job.begun = parts_.journal->last_appended().next();
    if (const auto taken = append_catalogue(encode_change(job)); !taken.ok()) logged = taken.error();
  }
  if (logged.ok()) logged = parts_.journal->commit();
  record_end(job);
  if (!logged.ok()) keep_attempt(job);
}

Status OpenedVault::register_item(const std::string& item) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  const MutexLock lock(change_mutex_);
  if (parts_.catalogue->item(item).has_value()) return ok_status();
  VAULTFS_RETURN_IF_ERROR(append_catalogue(encode_change(ItemInfo{item, parts_.machine.env.clock().now(), false})));
  return ok_status();
}

void OpenedVault::keep_attempt(const JobInfo& job) {
  KeptAttempt attempt{job.ended, ::getuid(), attempt_name(job.kind), outcome_of(job), job.number.value};
  if (attempt.time.value == 0) attempt.time = parts_.machine.env.clock().now();
  const auto sealed = seal_details(*parts_.custody, parts_.machine.env, job);
  if (sealed.ok()) attempt.sealed = *sealed;  // without keys there is nothing that may be written of names
  const Status kept = parts_.machine.state.keep_attempt(parts_.header.id, parts_.place, attempt);
  if (!kept.ok()) warn("an attempt could not be recorded", kept.error());
}

std::optional<JobInfo> OpenedVault::job_of(const KeptAttempt& attempt) {
  // Room or keys came back before that owner ended: it has written the job itself.
  const auto known = parts_.catalogue->job(JobNumber(attempt.job));
  if (known && known->ended == attempt.time) return std::nullopt;
  const auto* const kind =
      std::ranges::find(kAttemptKinds, attempt.operation, [](const auto& pair) { return pair.first; });
  if (kind == kAttemptKinds.end()) return std::nullopt;
  JobInfo job;
  job.kind = kind->second;
  job.started = job.ended = attempt.time;
  const bool succeeded = attempt.outcome == "Succeeded";
  job.state = succeeded ? JobState::completed : JobState::failed;
  if (attempt.outcome == "Cancelled") job.state = JobState::cancelled;
  job.detail = (succeeded ? "" : attempt.outcome + ": ") + "while the vault could not take note of it; by uid " +
               std::to_string(attempt.uid);
  open_details(*parts_.custody, attempt.sealed, job);
  return job;
}

std::vector<JobInfo> OpenedVault::kept_jobs() {
  std::vector<JobInfo> jobs;
  const auto kept = parts_.machine.state.kept_attempts(parts_.header.id, parts_.place);
  if (!kept.ok()) return jobs;
  JobNumber number = parts_.catalogue->next_job();
  for (const KeptAttempt& one : *kept) {
    std::optional<JobInfo> job = job_of(one);
    if (!job) continue;
    job->number = std::exchange(number, number.next());
    jobs.push_back(*std::move(job));
  }
  return jobs;
}

void OpenedVault::take_kept_attempts() {
  const auto kept = parts_.machine.state.kept_attempts(parts_.header.id, parts_.place);
  if (!kept.ok()) return warn("attempts from when the vault could not be opened", kept.error());
  if (kept->empty()) return;
  Status logged = ok_status();
  for (const KeptAttempt& one : *kept) {
    std::optional<JobInfo> job = job_of(one);
    if (!job) continue;
    logged = job->kind == JobKind::backup ? parts_.custody->item_attempted() : ok_status();
    if (!logged.ok()) break;
    job->number = parts_.catalogue->take_job_number();
    {
      const MutexLock lock(change_mutex_);
      job->begun = parts_.journal->last_appended().next();
      if (const auto taken = append_catalogue(encode_change(*job)); !taken.ok()) logged = taken.error();
    }
    if (!logged.ok()) break;
    record_end(*job);
  }
  if (logged.ok()) logged = parts_.journal->commit();
  if (logged.ok()) logged = parts_.machine.state.drop_attempts(parts_.header.id, parts_.place, *kept);
  if (!logged.ok()) warn("attempts from when the vault could not be opened", logged.error());
}

void OpenedVault::tell_key_change(const std::string& what, const std::string& version, const Error* failure) {
  std::string line = what + " " + version + ": ";
  if (failure != nullptr) {
    line += "failed: " + std::string(error_name(failure->code)) + ": " + failure->message;
  } else if (what == "key.retire") {
    const std::vector<VersionRecord> versions = parts_.custody->status().versions;
    const bool by_backup = std::ranges::any_of(
        versions, [&](const VersionRecord& record) { return record.version == version && record.backup_completed; });
    line = "retirement: key version " + version + " is needed no more: " +
           (by_backup ? "a backup that began after its successor took effect has completed, and the vault opens by the "
                        "Active version alone"
                      : "it was dropped as asked, and the vault opens by the Active version alone");
  } else {
    line += "done";
  }
  tell(std::move(line));
}

}  // namespace vaultfs
