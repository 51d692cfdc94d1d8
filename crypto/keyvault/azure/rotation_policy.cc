#include "crypto/keyvault/azure/rotation_policy.h"

#include <algorithm>

#include "crypto/keyvault/http/json_answer.h"

namespace vaultfs {
namespace {

constexpr std::string_view kRotate = "Rotate";
constexpr std::size_t kActionLimit = 16;
constexpr std::size_t kDurationLimit = 12;

Error no_policy(const std::string& what) {
  return {ErrorCode::KeyVaultUnavailable, "the answer is no rotation policy of an Azure Key Vault: " + what};
}

// An ISO 8601 duration of whole years, months, weeks and days: P30D, P3M, P1Y6M.
bool is_duration(std::string_view text) {
  if (text.size() < 3 || text.size() > kDurationLimit || !text.starts_with('P')) return false;
  std::string_view units = "YMWD";  // in this order, each once
  bool digits = false;
  for (const char c : text.substr(1)) {
    if (c >= '0' && c <= '9') {
      digits = true;
      continue;
    }
    const std::size_t unit = units.find(c);
    if (!digits || unit == std::string_view::npos) return false;
    units.remove_prefix(unit + 1);
    digits = false;
  }
  return !digits;
}

// A member that may be missing or null, as the service has it for what is not set.
Result<std::string> duration_member(const AnswerJson& object, const char* name) {
  const AnswerJson* const value = member(object, name);
  if (value == nullptr || value->is_null()) return std::string();
  const LockedText* const text = text_member(object, name);
  if (text == nullptr || !is_duration(*text)) return no_policy(std::string(name) + " is no duration");
  return plain(*text);
}

Result<AzureRotationPolicy::Action> parse_action(const AnswerJson& entry) {
  const AnswerJson* const trigger = member(entry, "trigger");
  const AnswerJson* const what = member(entry, "action");
  if (trigger == nullptr || !trigger->is_object() || what == nullptr) return no_policy("an action lacks a member");
  AzureRotationPolicy::Action action;
  VAULTFS_ASSIGN_OR_RETURN(action.after_create, duration_member(*trigger, "timeAfterCreate"));
  VAULTFS_ASSIGN_OR_RETURN(action.before_expiry, duration_member(*trigger, "timeBeforeExpiry"));
  const LockedText* const type = text_member(*what, "type");
  if (action.after_create.empty() == action.before_expiry.empty()) return no_policy("an action has not one trigger");
  if (type == nullptr) return no_policy("an action has no type");
  // Seen in both spellings, "Rotate" and "rotate".
  for (const std::string_view known : {kRotate, std::string_view("Notify")}) {
    const auto same = [](char a, char b) { return (a | 32) == (b | 32); };
    if (std::ranges::equal(*type, known, same)) action.type = known;
  }
  if (action.type.empty()) return no_policy("an action is neither Rotate nor Notify");
  return action;
}

}  // namespace

std::optional<RotationPolicyText> AzureRotationPolicy::rotation() const {
  const auto found = std::ranges::find(actions, kRotate, &Action::type);
  if (found == actions.end()) return std::nullopt;
  return RotationPolicyText{found->after_create, found->before_expiry, expiry};
}

AzureRotationPolicy AzureRotationPolicy::with(const std::optional<RotationPolicy>& policy) const {
  AzureRotationPolicy changed;
  if (policy) {
    Action rotate{{}, {}, std::string(kRotate)};
    if (policy->after_create_days) rotate.after_create = days_duration(*policy->after_create_days);
    if (policy->before_expiry_days) rotate.before_expiry = days_duration(*policy->before_expiry_days);
    changed.actions.push_back(std::move(rotate));
    if (policy->expiry_days) changed.expiry = days_duration(*policy->expiry_days);
  }
  std::ranges::copy_if(actions, std::back_inserter(changed.actions),
                       [](const Action& action) { return action.type != kRotate; });
  return changed;
}

// Durations and types are of the forms that were checked above: none needs an escape.
LockedText AzureRotationPolicy::to_json() const {
  LockedText body("{\"lifetimeActions\":[");
  for (const Action& action : actions) {
    if (&action != actions.data()) body.append(",");
    body.append(R"({"trigger":{")").append(action.after_create.empty() ? "timeBeforeExpiry" : "timeAfterCreate");
    body.append(R"(":")").append(action.after_create.empty() ? action.before_expiry : action.after_create);
    body.append(R"("},"action":{"type":")").append(action.type).append("\"}}");
  }
  body.append("],\"attributes\":{");
  if (!expiry.empty()) body.append(R"("expiryTime":")").append(expiry).append("\"");
  body.append("}}");
  return body;
}

Result<AzureRotationPolicy> parse_azure_rotation_policy(std::string_view body) {
  VAULTFS_ASSIGN_OR_RETURN(const AnswerJson answer, parse_answer(body));
  const AnswerJson* const actions = member(answer, "lifetimeActions");
  if (actions == nullptr) return no_policy("it has no lifetimeActions");
  AzureRotationPolicy policy;
  if (!actions->is_null()) {
    if (!actions->is_array() || actions->size() > kActionLimit) return no_policy("its lifetimeActions are no list");
    for (const AnswerJson& entry : *actions) {
      VAULTFS_ASSIGN_OR_RETURN(AzureRotationPolicy::Action action, parse_action(entry));
      policy.actions.push_back(std::move(action));
    }
  }
  const AnswerJson* const attributes = member(answer, "attributes");
  if (attributes == nullptr || attributes->is_null()) return policy;
  if (!attributes->is_object()) return no_policy("its attributes are no object");
  VAULTFS_ASSIGN_OR_RETURN(policy.expiry, duration_member(*attributes, "expiryTime"));
  return policy;
}

}  // namespace vaultfs
