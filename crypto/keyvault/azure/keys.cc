#include "crypto/keyvault/azure/keys.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <tuple>

#include "base/thread/mutex.h"
#include "crypto/keyvault/key_ref.h"

namespace vaultfs {
namespace {

constexpr std::size_t kItemLimit = 10'000;
constexpr std::size_t kPagesLimit = 1000;
constexpr std::size_t kKindsLimit = 10'000;
// For a list of versions: a page of 25 and each version that was not seen before is a request.
constexpr std::chrono::minutes kListTime{5};

KeyVersionInfo info_from(const std::string& id, const AzureAttributes& attributes, std::string type, unsigned bits) {
  KeyVersionInfo info;
  info.id = id;
  info.created_unix_seconds = attributes.created;
  info.enabled = attributes.enabled;
  info.not_before = attributes.not_before;
  info.expires = attributes.expires;
  info.of_certificate = type.ends_with(kAzureOfCertificate);
  info.key_type = std::move(type);
  info.bits = bits;
  return info;
}

}  // namespace

KeyVersionInfo AzureKeys::info_of(const AzureKey& key) {
  return info_from(key.id.version, key.attributes, key.type, key.bits);
}

Error AzureKeys::key_not_found(const std::string& key) const {
  return {ErrorCode::KeyNotFound, "the key vault " + key_vault_ + " has no key " + key +
                                      "; if it was deleted, recover it with: vaultctl key recover " + key_vault_ + "/" +
                                      key};
}

Result<AzureKey> AzureKeys::read(HttpCall& call, const std::string& key, std::string_view version) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer,
                           connection_.send(call, connection_.request("GET", "keys", key, version)));
  auto parsed = parse_azure_key(answer.body, connection_.options().address);
  if (!parsed.ok()) return with_context(parsed.error(), "the key vault " + key_vault_);
  if (!version.empty() && parsed->id.version != version) {
    return Error{ErrorCode::KeyVaultUnavailable,
                 "the key vault " + key_vault_ + " answered for another key version than was asked"};
  }
  return parsed;
}

Result<AzureKey> AzureKeys::version(HttpCall& call, const std::string& key, const std::string& version) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  if (is_key_version_id(version)) {
    auto found = read(call, key, version);
    if (found.ok() || found.code() != ErrorCode::KeyNotFound) return found;
  }
  // The service says the same of a missing key and of a missing version.
  auto there = newest(call, key);
  if (!there.ok()) return there.error();
  return Error{ErrorCode::KeyVersionNotFound,
               "the key " + key_vault_ + "/" + key + " has no version " + printable(version)};
}

Result<AzureKey> AzureKeys::newest(HttpCall& call, const std::string& key) {
  auto found = read(call, key, {});
  if (!found.ok() && found.code() == ErrorCode::KeyNotFound) return key_not_found(key);
  return found;
}

Result<std::vector<AzurePage::Item>> AzureKeys::list(HttpCall& call, HttpRequest request) {
  std::vector<AzurePage::Item> items;
  std::set<std::string> seen;
  for (;;) {
    seen.insert(request.url.to_string());
    call.renew(kListTime);
    VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer, connection_.send(call, request));
    auto page = parse_azure_page(answer.body, connection_.options().address);
    if (!page.ok()) return with_context(page.error(), "the key vault " + key_vault_);
    for (AzurePage::Item& item : page->items) items.push_back(std::move(item));
    if (!page->next) return items;
    if (items.size() > kItemLimit || seen.size() > kPagesLimit || seen.contains(page->next->to_string())) {
      return Error{ErrorCode::KeyVaultUnavailable, "the key vault " + key_vault_ + " gives a list without an end"};
    }
    request.url = *page->next;
  }
}

Result<AzureKeys::Kind> AzureKeys::kind_of(HttpCall& call, const AzureKeyId& id) {
  const std::string name = id.name + "/" + id.version;
  {
    const MutexLock lock(mutex_);
    const auto it = kinds_.find(name);
    if (it != kinds_.end()) return Kind(it->second);
  }
  call.renew(kListTime);
  VAULTFS_ASSIGN_OR_RETURN(const AzureKey key, read(call, id.name, id.version));
  Kind kind{key.type, key.bits};
  const MutexLock lock(mutex_);
  if (kinds_.size() >= kKindsLimit) kinds_.clear();
  kinds_[name] = kind;
  return kind;
}

Result<std::vector<KeyVersionInfo>> AzureKeys::versions(HttpCall& call, const std::string& key) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  auto items = list(call, connection_.request("GET", "keys", key, "versions"));
  if (!items.ok()) {
    return items.code() == ErrorCode::KeyNotFound ? key_not_found(key) : items.error();
  }
  if (items->empty()) return key_not_found(key);
  std::vector<KeyVersionInfo> versions;
  for (const AzurePage::Item& item : *items) {
    if (item.id.version.empty()) {
      return Error{ErrorCode::KeyVaultUnavailable, "the key vault " + key_vault_ + " lists a version without its id"};
    }
    const auto kind = kind_of(call, {key, item.id.version});
    // Deleted or purged since it was listed.
    if (!kind.ok() && kind.code() == ErrorCode::KeyNotFound) continue;
    if (!kind.ok()) return kind.error();
    versions.push_back(info_from(item.id.version, item.attributes, kind->type, kind->bits));
  }
  if (versions.empty()) return key_not_found(key);
  std::ranges::sort(versions, {},
                    [](const KeyVersionInfo& info) { return std::tuple(info.created_unix_seconds, info.id); });
  VAULTFS_RETURN_IF_ERROR(put_newest_last(call, key, versions));
  return versions;
}

// Times are whole seconds, and ids are random. Of versions that were made in the last second, the key without a version
// names the newest.
Status AzureKeys::put_newest_last(HttpCall& call, const std::string& key, std::vector<KeyVersionInfo>& versions) {
  const std::int64_t last = versions.back().created_unix_seconds;
  const auto equals = std::ranges::find(versions, last, &KeyVersionInfo::created_unix_seconds);
  if (versions.end() - equals < 2) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(const AzureKey current, newest(call, key));
  const auto at = std::find_if(equals, versions.end(), [&](const auto& info) { return info.id == current.id.version; });
  // Another one has been made since; it is listed the next time.
  if (at != versions.end()) std::rotate(at, at + 1, versions.end());
  return ok_status();
}

Result<std::vector<std::string>> AzureKeys::names(HttpCall& call) {
  VAULTFS_ASSIGN_OR_RETURN(const auto items, list(call, connection_.request("GET", "keys")));
  std::vector<std::string> names;
  for (const AzurePage::Item& item : items) {
    if (!item.managed) names.push_back(item.id.name);
  }
  std::ranges::sort(names);
  return names;
}

Result<std::optional<AzureAttributes>> AzureKeys::attributes_of_any(HttpCall& call) {
  HttpRequest request = connection_.request("GET", "keys");
  request.url = request.url.with("maxresults", "1");
  VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer, connection_.send(call, std::move(request)));
  const auto page = parse_azure_page(answer.body, connection_.options().address);
  if (!page.ok()) return with_context(page.error(), "the key vault " + key_vault_);
  if (page->items.empty()) return std::optional<AzureAttributes>();
  return std::optional(page->items.front().attributes);
}

}  // namespace vaultfs
