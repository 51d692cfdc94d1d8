// vaultctl reencrypt
#include <memory>

#include "tools/mount_options.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct ReencryptArguments {
  std::string vault, rate;
  bool new_epoch = false, no_grace = false;
};

std::string share(const json& form) { return plain(form["segments"]) + " segments, " + human_bytes(form["bytes"]); }

void print_outcome(const json& form) {
  const std::string epoch = plain(form["epoch"]);
  if (form["job"]["state"] == "CompletedNoChange") {
    say("Nothing to do: all that is needed is under epoch %s, the newest.\n", epoch.c_str());
  } else {
    say("Moved %s chunks (%s) to epoch %s; %s recovery points renewed.\n", plain(form["moved_chunks"]).c_str(),
        human_bytes(form["moved_bytes"]).c_str(), epoch.c_str(), plain(form["renewed_recovery_points"]).c_str());
    say("Removed of older epochs: %s.\n", share(form["removed"]).c_str());
  }
  if (form["waiting"]["segments"] != 0) {
    say("Needed no more, and kept for up to 24 hours for copies that are being made: %s. Until they are gone, the "
        "older "
        "data keys still open what this disk holds (--no-grace removes them now).\n",
        share(form["waiting"]).c_str());
  }
  if (form["left"]["segments"] != 0) say("Left under older epochs: %s.\n", share(form["left"]).c_str());
  for (const json& damage : form["damage"]) say("damaged: %s\n", plain(damage).c_str());
  say("Copies of the vault made earlier, and what the disk keeps of removed files, stay readable by the older "
      "data keys.\n");
}

Result<int> reencrypt(CommandContext& context, const ReencryptArguments& arguments) {
  VaultRequest wanted{arguments.vault, "reencrypt"};
  std::uint64_t rate = 0;
  if (!arguments.rate.empty() && (!parse_byte_size(arguments.rate, rate) || rate == 0)) {
    return Error{ErrorCode::Usage, "--rate " + arguments.rate + ": write bytes per second, as in 20M, 512K or 1G"};
  }
  wanted.arguments = {
      {"bytes_per_second", rate}, {"new_epoch", arguments.new_epoch}, {"without_grace", arguments.no_grace}};
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  print(context, form, [&form] { print_outcome(form); });
  if (form["damaged_records"] == 0) return 0;
  return Error{ErrorCode::DamageFound,
               plain(form["damaged_records"]) + " damaged places stayed as they are; everything else was moved"};
}

}  // namespace

void add_reencrypt_command(CLI::App& app, CommandContext& context) {
  const auto arguments = std::make_shared<ReencryptArguments>();
  CLI::App* command = app.add_subcommand(
      "reencrypt", "Bring what is stored under older data keys to the newest one; backups go on meanwhile");
  command->add_option("VAULT", arguments->vault)->required();
  command->add_option("--rate", arguments->rate,
                      "at most so many bytes per second: 512K, 20M, 1G; without it, no limit");
  command->add_flag("--new-epoch", arguments->new_epoch, "begin with a new data key, as `key new-epoch` does");
  command->add_flag(
      "--no-grace", arguments->no_grace,
      "remove the old segments now, not after 24 hours: copies of the vault that are being made may break");
  on_run(*command, context, [&context, arguments] { return reencrypt(context, *arguments); });
}

}  // namespace vaultfs
