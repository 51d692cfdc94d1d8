// vaultctl verify, job list|show, activity [--verify]

#include <memory>

#include "base/thread/stop_request.h"
#include "tools/api/json_forms.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/progress_line.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/activity/activity_verify.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

using nlohmann::json;

void print_damage(const char* what, const json& damage) {
  std::string place = plain(damage["file"]);
  if (!damage["item"].is_null()) {
    place +=
        ": item " + plain(damage["item"]) + ", " +
        (damage["recovery_point"].is_null() ? "working tree" : "recovery point " + plain(damage["recovery_point"]));
  }
  if (!damage["disk"].is_null()) {
    const auto offset = damage["offset"].get<std::uint64_t>();
    place += ", " + plain(damage["disk"]) + ", bytes " + std::to_string(offset) + " to " +
             std::to_string(offset + damage["length"].get<std::uint64_t>() - 1);
  }
  say("%s: %s: %s: %s\n", what, place.c_str(), plain(damage["error"]).c_str(), plain(damage["message"]).c_str());
}

void print_verify(const json& form) {
  say("Read %s files, %s, %s records.\n", plain(form["files"]).c_str(), human_bytes(form["bytes"]).c_str(),
      plain(form["records"]).c_str());
  if (form["authenticated"] == true) {
    say("Every record was opened; %s recovery points were followed to their last chunk.\n",
        plain(form["recovery_points"]).c_str());
  } else {
    say("Checksums only, without keys: not authenticated.\n");
  }
  for (const json& damage : form["damage"]) print_damage("damaged", damage);
  for (const json& damage : form["notes"]) print_damage("note, nothing is lost by it", damage);
  if (form["damage"].empty()) say("No damage found.\n");
  if (form["healed_chunks"] != 0) print_healed(form);
  if (form["remembered"] == true && form["known_damage"] != 0) {
    say("%s damaged chunks are remembered: the next backup that has their content stores them anew.\n",
        plain(form["known_damage"]).c_str());
  }
  if (!form["not_remembered"].is_null()) {
    say("The damage is not remembered: %s: %s\n", plain(form["not_remembered"]["name"]).c_str(),
        plain(form["not_remembered"]["message"]).c_str());
  }
}

// What nobody has written down yet goes to the vault's owner: a reader changes nothing.
void have_it_remembered(CommandContext& context, const std::string& vault, json& form) {
  const bool of_interest = !form["damage"].empty() || !form["notes"].empty() || form["known_damage"] != 0;
  if (form["remembered"] == true || !form["not_remembered"].is_null() || !of_interest) return;
  const auto examined = remember_damage(context, vault, form["damaged_segments"]);
  if (examined.ok()) {
    add_to_verify(*examined, form);
  } else {
    form["not_remembered"] = error_to_json_form(examined.error());
  }
}

Result<int> verify(CommandContext& context, const std::string& vault, bool keyless, bool unverified,
                   const std::string& fingerprint) {
  json form;
  if (keyless) {
    // Without keys there is nobody to ask: everything it needs is in the files.
    ProgressLine line;
    const auto path = std::filesystem::absolute(vault).lexically_normal();
    VAULTFS_ASSIGN_OR_RETURN(const VerifyReport report,
                             verify_vault(posix_env(), path, nullptr, [&line](const VerifyCounts& counts) {
                               line.update(counts.bytes, 0);
                               return !stop_requested();
                             }));
    form = to_json(report);
  } else {
    VaultRequest wanted{vault, "verify"};
    wanted.allow_unverified = unverified;
    wanted.fingerprint = fingerprint;
    VAULTFS_ASSIGN_OR_RETURN(form, request(context, std::move(wanted)));
    have_it_remembered(context, vault, form);
  }
  print(context, form, [&form] { print_verify(form); });
  if (form["damage"].empty()) return 0;
  // The report is out already: stdout has one JSON object.
  tell("vaultctl: %s: %zu damaged places; undamaged items stay readable\n",
       std::string(error_name(ErrorCode::DamageFound)).c_str(), form["damage"].size());
  return error_exit_code(ErrorCode::DamageFound);
}

std::vector<std::string> job_row(const json& job) {
  return {plain(job["job"]),
          plain(job["kind"]),
          plain(job["state"]),
          plain(job["item"]),
          plain(job["started"]),
          plain(job["ended"]),
          human_bytes(job["stored_bytes"]),
          plain(job["detail"])};
}

Result<int> list_jobs(CommandContext& context, const std::string& vault) {
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, {vault, "job.list"}));
  print(context, form, [&form] {
    std::vector<std::vector<std::string>> rows;
    for (const json& job : form["jobs"]) rows.push_back(job_row(job));
    print_table({"JOB", "KIND", "STATE", "ITEM", "STARTED", "ENDED", "STORED", "DETAIL"}, rows);
  });
  return 0;
}

Result<int> show_job(CommandContext& context, const std::string& vault, std::uint64_t number) {
  VaultRequest wanted{vault, "job.show"};
  wanted.arguments = {{"job", number}};
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  print(context, form, [&form] {
    print_pairs({{"Job", plain(form["job"])},
                 {"Kind", plain(form["kind"])},
                 {"State", plain(form["state"])},
                 {"Item", plain(form["item"])},
                 {"Started", plain(form["started"])},
                 {"Ended", plain(form["ended"])},
                 {"Read or written", human_bytes(form["logical_bytes"])},
                 {"Newly stored", human_bytes(form["stored_bytes"])},
                 {"Detail", plain(form["detail"])}});
  });
  return 0;
}

Result<int> show_activity(CommandContext& context, const std::string& vault) {
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, {vault, "activity"}));
  print(context, form, [&form] {
    std::vector<std::vector<std::string>> rows;
    for (const json& entry : form["activities"]) {
      rows.push_back({plain(entry["number"]), plain(entry["time"]), plain(entry["operation"]), plain(entry["outcome"]),
                      plain(entry["subject"]), plain(entry["detail"])});
    }
    print_table({"NO", "TIME", "OPERATION", "OUTCOME", "SUBJECT", "DETAIL"}, rows);
  });
  return 0;
}

Result<int> verify_activity(CommandContext& context, const std::string& vault, bool keyless) {
  json form;
  if (keyless) {
    const auto path = std::filesystem::absolute(vault).lexically_normal();
    VAULTFS_ASSIGN_OR_RETURN(const ActivityReport report, verify_activity_keyless(posix_env(), path));
    form = to_json(report);
  } else {
    VAULTFS_ASSIGN_OR_RETURN(form, request(context, {vault, "activity.verify"}));
  }
  print(context, form, [&form] {
    say("Read %s entries in %s files.\n", plain(form["entries"]).c_str(), plain(form["files"]).c_str());
    say(form["authenticated"] == true
            ? "Every entry was opened, and compared with the one before and with what the vault's head knows.\n"
            : "Checksums and numbers only, without keys: not authenticated.\n");
    for (const json& damage : form["damage"]) {
      say("damaged: %s: entry %s: %s\n", plain(damage["file"]).c_str(), plain(damage["entry"]).c_str(),
          plain(damage["message"]).c_str());
    }
    if (form["damage"].empty()) say("No damage found.\n");
  });
  if (form["damage"].empty()) return 0;
  return Error{ErrorCode::DamageFound, "the activity log is damaged in " + std::to_string(form["damage"].size()) +
                                           " places, first at entry " + plain(form["damage"][0]["entry"]) + " in " +
                                           plain(form["damage"][0]["file"])};
}

}  // namespace

void add_report_commands(CLI::App& app, CommandContext& context) {
  const auto vault = std::make_shared<std::string>();
  const auto keyless = std::make_shared<bool>(false);
  const auto unverified = std::make_shared<bool>(false);
  const auto fingerprint = std::make_shared<std::string>();
  const auto number = std::make_shared<std::uint64_t>(0);

  CLI::App* verified = app.add_subcommand("verify", "Read every byte of a vault and report damage; repairs nothing");
  verified->add_option("VAULT", *vault)->required();
  verified->add_flag("--keyless", *keyless, "checksums and inventories only, without any key: not authenticated");
  verified->add_flag("--unverified", *unverified, "although this machine does not know the vault");
  verified->add_option(
      "--fingerprint", *fingerprint,
      "on such a machine: what you have kept of the vault; an older one says how far it speaks for it");
  on_run(*verified, context, [&context, vault, keyless, unverified, fingerprint] {
    return verify(context, *vault, *keyless, *unverified, *fingerprint);
  });

  CLI::App* jobs = app.add_subcommand("job", "Jobs");
  jobs->require_subcommand(1);
  CLI::App* listed = jobs->add_subcommand("list", "All jobs, oldest first");
  listed->add_option("VAULT", *vault)->required();
  on_run(*listed, context, [&context, vault] { return list_jobs(context, *vault); });
  CLI::App* shown = jobs->add_subcommand("show", "One job");
  shown->add_option("VAULT", *vault)->required();
  shown->add_option("JOB", *number)->required()->check([](const std::string& text) -> std::string {
    constexpr std::size_t kDigits = 19;
    const bool is_number = text.size() <= kDigits && text.find_first_not_of("0123456789") == std::string::npos;
    return is_number ? "" : "a job's number, as in vaultctl job list, not " + text;
  });
  on_run(*shown, context, [&context, vault, number] { return show_job(context, *vault, *number); });

  CLI::App* activity = app.add_subcommand("activity", "The vault's activity log, its chain checked");
  activity->add_option("VAULT", *vault)->required();
  const auto check = std::make_shared<bool>(false);
  activity->add_flag("--verify", *check, "only check it: changed, removed and cut off entries are named");
  activity->add_flag("--keyless", *keyless, "with --verify: without any key, not authenticated");
  on_run(*activity, context, [&context, vault, check, keyless]() -> Result<int> {
    if (*check) return verify_activity(context, *vault, *keyless);
    if (*keyless) return Error{ErrorCode::Usage, "--keyless belongs to --verify: entries can't be read without keys"};
    return show_activity(context, *vault);
  });
}

}  // namespace vaultfs
