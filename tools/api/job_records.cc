#include "tools/api/job_records.h"

#include <algorithm>
#include <string>
#include <utility>

namespace vaultfs {
namespace {

void add_kept(Vault& vault, std::vector<ActivityEntry>& entries) {
  std::uint64_t number = entries.empty() ? 0 : entries.back().number;
  for (const JobInfo& job : vault.kept_jobs()) {
    const char* kind = job.kind == JobKind::backup ? "backup" : job.kind == JobKind::restore ? "restore" : "reencrypt";
    const bool cancelled = job.state == JobState::cancelled;
    const bool failed = job.state == JobState::failed;
    ActivityEntry entry;
    entry.number = ++number;
    entry.time = job.ended;
    entry.operation = std::string(kind) + (cancelled ? ".cancel" : failed ? ".fail" : ".complete");
    entry.outcome = cancelled ? "Cancelled" : failed ? "Failed" : "Succeeded";
    entry.subject = job.item;
    entry.detail = "job " + std::to_string(job.number.value) + ": " + job.detail;
    entries.push_back(std::move(entry));
  }
}

}  // namespace

std::vector<JobInfo> job_records(Vault& vault) {
  std::vector<JobInfo> jobs = vault.catalogue().jobs();
  if (!vault.read_only()) return jobs;
  for (JobInfo& kept : vault.kept_jobs()) jobs.push_back(std::move(kept));
  return jobs;
}

Result<JobInfo> job_record(Vault& vault, JobNumber number) {
  std::vector<JobInfo> jobs = job_records(vault);
  const auto job = std::ranges::find(jobs, number, &JobInfo::number);
  if (job != jobs.end()) return std::move(*job);
  return Error{ErrorCode::JobNotFound, "no job " + std::to_string(number.value) + "; see: vaultctl job list"};
}

Result<std::vector<ActivityEntry>> activity_records(Vault& vault) {
  VAULTFS_ASSIGN_OR_RETURN(std::vector<ActivityEntry> entries, vault.activity().entries());
  if (vault.read_only()) add_kept(vault, entries);
  return entries;
}

}  // namespace vaultfs
