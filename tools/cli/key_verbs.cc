// vaultctl key new-epoch|drill

#include <memory>

#include "tools/cli/command_context.h"
#include "tools/cli/text_output.h"
#include "tools/control/message.h"

namespace vaultfs {
namespace {

using nlohmann::json;

Result<int> new_epoch(CommandContext& context, const std::string& vault) {
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, {vault, "key.new-epoch"}));
  print(context, form, [&form] {
    std::printf(
        "New data is encrypted under epoch %s from now on.\n"
        "What is stored already stays under the older epochs: whoever has one of their keys can still read it.\n",
        plain(form["current_epoch"]).c_str());
  });
  return 0;
}

// The exit code is that of the first slot that does not open.
Result<int> drill(CommandContext& context, const std::string& vault) {
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, {vault, "key.drill"}));
  print(context, form, [&form] {
    std::vector<std::vector<std::string>> rows;
    for (const json& slot : form["slots"]) {
      rows.push_back({plain(slot["role"]), plain(slot["key"]), plain(slot["version"]), plain(slot["opens"]),
                      slot["problem"].is_null() ? "-" : plain(slot["problem"]["name"])});
    }
    print_table({"ROLE", "KEY", "KEY VERSION", "OPENS THE VAULT", "PROBLEM"}, rows);
  });
  for (const json& slot : form["slots"]) {
    if (slot["opens"] == true) continue;
    return error_exit_code(error_from_json({{"error", slot["problem"]}}).code);
  }
  return 0;
}

}  // namespace

void add_key_verbs(CLI::App& group, CommandContext& context) {
  const auto vault = std::make_shared<std::string>();
  CLI::App* epoch = group.add_subcommand("new-epoch", "Encrypt a vault's new data under a new key");
  epoch->add_option("VAULT", *vault)->required();
  on_run(*epoch, context, [&context, vault] { return new_epoch(context, *vault); });

  CLI::App* drilled = group.add_subcommand("drill", "Prove by which key versions a vault opens now; changes nothing");
  drilled->add_option("VAULT", *vault)->required();
  on_run(*drilled, context, [&context, vault] { return drill(context, *vault); });
}

}  // namespace vaultfs
