#include "crypto/keyvault/pkcs11/pkcs11_key_vault.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/pkcs11/administration.h"
#include "crypto/keyvault/pkcs11/first_seen.h"
#include "crypto/keyvault/pkcs11/module.h"
#include "crypto/keyvault/pkcs11/options.h"
#include "crypto/keyvault/pkcs11/pin.h"
#include "crypto/keyvault/pkcs11/token.h"
#include "crypto/keyvault/pkcs11/version.h"
#include "crypto/keyvault/wrap_times.h"

namespace vaultfs {
namespace {

constexpr std::size_t kNewIdBytes = 16;

// The versions whose first sighting is kept. Not public objects: anybody could fill the file with those.
std::vector<std::string> ids_of(std::vector<Pkcs11DatedKey>& versions) {
  // What is new is seen in no order at all; by the ids it is at least the same one everywhere.
  std::ranges::sort(versions, {}, [](const Pkcs11DatedKey& version) { return version.key.id; });
  std::vector<std::string> ids;
  ids.reserve(versions.size());
  for (const Pkcs11DatedKey& version : versions) {
    if (version.key.flaw != Pkcs11Flaw::is_public) ids.push_back(version.key.id);
  }
  return ids;
}

class Pkcs11KeyVault final : public AdministeredKeyVault {
 public:
  Pkcs11KeyVault(const ProviderContext& context, Pkcs11Options options)
      : env_(context.env),
        directory_(context.directory),
        name_(context.name),
        options_(std::move(options)),
        first_seen_(context.env, context.directory),
        token_(std::make_shared<Pkcs11Token>(options_.token)),
        module_(Pkcs11Module::acquire(options_.module)) {}
  Pkcs11KeyVault(const Pkcs11KeyVault&) = delete;
  Pkcs11KeyVault& operator=(const Pkcs11KeyVault&) = delete;
  ~Pkcs11KeyVault() override {
    module_.close_and_release([token = token_](Pkcs11Library& library) { token->close(library); });
  }

  [[nodiscard]] const std::string& name() const override { return name_; }
  Result<KeyVaultProperties> properties() override;
  Result<KeyVaultPlace> place() override;
  Result<std::vector<KeyVersionInfo>> list_versions(const std::string& key) override;
  Result<Bytes> wrap(const std::string& key, const std::string& version, ByteView plaintext) override;
  Result<SecretBuffer> unwrap(const std::string& key, const std::string& version, std::string_view algorithm,
                              ByteView wrapped) override;
  Result<std::string> wrap_algorithm(const std::string& key, const std::string& version) override;

  Result<std::vector<std::string>> list_keys() override;
  Result<KeyVersionInfo> create_key(const std::string& key, const KeyOptions& options) override;
  Result<KeyVersionInfo> rotate_key(const std::string& key, const KeyOptions& options, bool keep_bits) override;
  Status set_enabled(const std::string& key, const std::string& version, bool enabled) override;
  Status delete_key(const std::string& key) override;
  Status recover_key(const std::string& key) override;
  Status purge_key(const std::string& key) override;

 private:
  template <typename T>
  using Work = std::function<Result<T>(Pkcs11Session&, Pkcs11Token&)>;

  // Runs `work` on the module's thread, in a session. `work` owns what it uses: it may outlast the call.
  template <typename T>
  [[nodiscard]] Result<T> in_session(Work<T> work);
  // What a login needs, read before it is known whether one is needed: the module's thread does no file I/O.
  [[nodiscard]] std::shared_ptr<Pkcs11Login> prepare_login();
  // Keeps what came of a login for other processes.
  [[nodiscard]] Status remember(const Pkcs11Login& login);

  [[nodiscard]] Bytes random_bytes(std::size_t size);
  [[nodiscard]] Pkcs11Nonces nonces() {
    return {random_bytes(Pkcs11Nonces::kBytes), random_bytes(Pkcs11Nonces::kBytes)};
  }
  [[nodiscard]] std::string shown(const std::string& key) const { return name_ + "/" + key; }
  [[nodiscard]] Result<KeyVersionInfo> generate(Pkcs11NewKey wanted, const KeyOptions& options, bool must_be_new);
  [[nodiscard]] Status apply_dates(const KeyOptions& options, Pkcs11NewKey& wanted) const;

  Env& env_;
  const std::filesystem::path directory_;
  const std::string name_;
  const Pkcs11Options options_;
  Pkcs11FirstSeen first_seen_;
  const std::shared_ptr<Pkcs11Token> token_;  // used on the module's thread only
  Pkcs11Module& module_;
  std::atomic<bool> refusal_stored_{false};  // this object wrote pkcs11-refused-pin.json
};

// The one version of a key with that id. Runs on the module's thread.
Result<Pkcs11KeyObject> find_version(Pkcs11Session& session, const std::string& label, const std::string& shown,
                                     const std::string& version) {
  Bytes id;
  std::vector<Pkcs11KeyObject> found;
  if (from_hex(version, id) && !id.empty() && to_hex(id) == version) {
    VAULTFS_ASSIGN_OR_RETURN(found, pkcs11_find_versions(session, label, id));
  }
  if (found.empty()) {
    // Is it the key that is missing?
    VAULTFS_RETURN_IF_ERROR(pkcs11_find_versions(session, label, std::nullopt));
    const bool printable = !id.empty() && id.size() <= 64;
    return Error{ErrorCode::KeyVersionNotFound, "key " + shown + " has no version " +
                                                    (printable ? version : "of that id") +
                                                    "; see which it has with: vaultctl key list " + shown};
  }
  VAULTFS_RETURN_IF_ERROR(pkcs11_check_distinct(found, label));
  return std::move(found.front());
}

template <typename T>
Result<T> Pkcs11KeyVault::in_session(Work<T> work) {
  const std::shared_ptr<Pkcs11Login> login = prepare_login();
  auto result = module_.run<std::pair<Result<T>, Pkcs11Login>>(
      options_.timeout, [token = token_, login, work = std::move(work)](Pkcs11Library& library) {
        auto answer =
            token->with_session<T>(library, *login, [&](Pkcs11Session& session) { return work(session, *token); });
        return Result<std::pair<Result<T>, Pkcs11Login>>({std::move(answer), std::move(*login)});
      });
  if (!result.ok()) return with_context(result.error(), "key vault " + name_);
  // The answer is the token's, whatever becomes of the file. One that can't be removed is tried again by the next call.
  const Status remembered = remember(result->second);
  if (result->first.ok()) return std::move(result->first);
  Error refusal = with_context(result->first.error(), "key vault " + name_);
  if (!remembered.ok()) refusal.message += "; and other processes can't be told: " + remembered.error().message;
  return refusal;
}

std::shared_ptr<Pkcs11Login> Pkcs11KeyVault::prepare_login() {
  auto login = std::make_shared<Pkcs11Login>();
  login->salt = random_bytes(Pkcs11RefusedPin::kSaltBytes);
  if (options_.pin_file) {
    // A PIN file that can't be read matters only if the session has to be opened anew.
    login->pin.emplace(read_pkcs11_pin(env_, *options_.pin_file));
    login->pin_source = options_.pin_file->string();
  }
  const bool stored_before = refusal_stored_;
  login->refused = read_pkcs11_refused_pin(env_, directory_);
  login->forgotten = stored_before && login->refused.ok() && !login->refused->has_value();
  return login;
}

Status Pkcs11KeyVault::remember(const Pkcs11Login& login) {
  if (login.refused_now) {
    VAULTFS_RETURN_IF_ERROR(write_pkcs11_refused_pin(env_, directory_, *login.refused_now));
    refusal_stored_ = true;
  } else if (login.accepted && (login.refused->has_value() || refusal_stored_)) {
    VAULTFS_RETURN_IF_ERROR(forget_pkcs11_refused_pin(env_, directory_));
    refusal_stored_ = false;
  }
  return ok_status();
}

Bytes Pkcs11KeyVault::random_bytes(std::size_t size) {
  Bytes bytes(size);
  env_.fill_random(bytes);
  return bytes;
}

// --- reading ---

Result<KeyVaultProperties> Pkcs11KeyVault::properties() {
  KeyVaultProperties properties;
  properties.provider = "pkcs11";
  // Not the module's path: a software token keeps its keys elsewhere, and an HSM's are on no disk.
  if (!options_.region.empty()) properties.region = options_.region;
  return properties;
}

// What the token says of itself, whatever module leads to it. Without a serial number two tokens may say the same.
Result<KeyVaultPlace> Pkcs11KeyVault::place() {
  VAULTFS_ASSIGN_OR_RETURN(std::string text,
                           in_session<std::string>([](Pkcs11Session& session, Pkcs11Token&) -> Result<std::string> {
                             CK_TOKEN_INFO token{};
                             const CK_RV answer = session.functions().C_GetTokenInfo(session.slot(), &token);
                             if (answer != CKR_OK) return session.lose("C_GetTokenInfo", answer);
                             std::string text;
                             const auto add = [&text](ByteView field) { text.append(text_of(field)).append("/"); };
                             add(std::as_bytes(std::span(token.manufacturerID)));
                             add(std::as_bytes(std::span(token.model)));
                             add(std::as_bytes(std::span(token.serialNumber)));
                             add(std::as_bytes(std::span(token.label)));
                             return text;
                           }));
  return KeyVaultPlace{std::move(text), true};
}

Result<std::vector<KeyVersionInfo>> Pkcs11KeyVault::list_versions(const std::string& key) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  VAULTFS_ASSIGN_OR_RETURN(
      auto versions, in_session<std::vector<Pkcs11DatedKey>>(
                         [key](Pkcs11Session& session, Pkcs11Token&) { return pkcs11_list_versions(session, key); }));
  VAULTFS_ASSIGN_OR_RETURN(const Pkcs11SightingList seen, first_seen_.see(key, ids_of(versions)));
  std::vector<std::pair<std::ptrdiff_t, KeyVersionInfo>> placed;
  for (const Pkcs11DatedKey& version : versions) {
    const std::ptrdiff_t place = seen.find(key, version.key.id);
    KeyVersionInfo info = pkcs11_version_info(version);
    // Never seen is a public object, which is no way forward and so comes first.
    if (place >= 0) {
      info.created_unix_seconds = pkcs11_created(version, seen.entries[static_cast<std::size_t>(place)].unix_seconds);
    }
    placed.emplace_back(place, std::move(info));
  }
  std::ranges::sort(placed, {},
                    [](const auto& entry) { return std::pair(entry.second.created_unix_seconds, entry.first); });
  std::vector<KeyVersionInfo> infos;
  infos.reserve(placed.size());
  for (auto& [place, info] : placed) infos.push_back(std::move(info));
  return infos;
}

Result<std::vector<std::string>> Pkcs11KeyVault::list_keys() {
  VAULTFS_ASSIGN_OR_RETURN(auto labels, in_session<std::vector<std::string>>([](Pkcs11Session& session, Pkcs11Token&) {
                             return pkcs11_list_labels(session);
                           }));
  // Other labels can't be named by a key reference.
  std::erase_if(labels, [](const std::string& label) { return !is_key_name(label); });
  return labels;
}

// --- wrapping ---

Result<std::string> Pkcs11KeyVault::wrap_algorithm(const std::string& key, const std::string& version) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  return in_session<std::string>([key, version, where = shown(key), random = nonces()](
                                     Pkcs11Session& session, Pkcs11Token& token) -> Result<std::string> {
    VAULTFS_ASSIGN_OR_RETURN(const Pkcs11KeyObject found, find_version(session, key, where, version));
    return token.wrapping().algorithm(session, found, random);
  });
}

Result<Bytes> Pkcs11KeyVault::wrap(const std::string& key, const std::string& version, ByteView plaintext) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  if (plaintext.size() > kWrapLimitBytes) {
    return Error{ErrorCode::InvalidArgument, "a wrap holds at most " + std::to_string(kWrapLimitBytes) +
                                                 " bytes, not " + std::to_string(plaintext.size())};
  }
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer copy, SecretBuffer::copy_of(plaintext));
  return in_session<Bytes>([key, version, where = shown(key), random = nonces(), now = env_.clock().now().seconds(),
                            content = std::make_shared<const SecretBuffer>(std::move(copy))](
                               Pkcs11Session& session, Pkcs11Token& token) -> Result<Bytes> {
    VAULTFS_ASSIGN_OR_RETURN(Pkcs11KeyObject found, find_version(session, key, where, version));
    VAULTFS_RETURN_IF_ERROR(pkcs11_check_enabled(found, where));
    VAULTFS_ASSIGN_OR_RETURN(const Pkcs11DatedKey dated, pkcs11_add_dates(session, std::move(found)));
    VAULTFS_RETURN_IF_ERROR(check_wrap_times(where, pkcs11_version_info(dated), now));
    return token.wrapping().wrap(session, dated.key, content->view(), random);
  });
}

Result<SecretBuffer> Pkcs11KeyVault::unwrap(const std::string& key, const std::string& version,
                                            std::string_view algorithm, ByteView wrapped) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  if (!pkcs11_algorithm_key_type(algorithm)) {
    return Error{ErrorCode::NotSupportedByProvider,
                 "a PKCS#11 key vault unwraps RSA-OAEP-256, RSA-OAEP, A256GCM and A256KWP only; this was wrapped by "
                 "another key vault"};
  }
  return in_session<SecretBuffer>(
      [key, version, where = shown(key), random = nonces(), by = std::string(algorithm), bytes = to_bytes(wrapped)](
          Pkcs11Session& session, Pkcs11Token& token) -> Result<SecretBuffer> {
        VAULTFS_ASSIGN_OR_RETURN(const Pkcs11KeyObject found, find_version(session, key, where, version));
        VAULTFS_RETURN_IF_ERROR(pkcs11_check_enabled(found, where));
        return token.wrapping().unwrap(session, found, by, bytes, random);
      });
}

// --- changes ---

Status Pkcs11KeyVault::apply_dates(const KeyOptions& options, Pkcs11NewKey& wanted) const {
  if (options.not_before && options.expires && *options.expires <= *options.not_before) {
    return Error{ErrorCode::InvalidArgument, "the version would expire before it becomes valid; give an exp after nbf"};
  }
  wanted.dates_matter = options.not_before || options.expires;
  const std::int64_t now = env_.clock().now().seconds();
  // A token keeps days only: never valid earlier or longer than asked for.
  if (options.not_before) wanted.start = pkcs11_date(*options.not_before + kPkcs11DaySeconds - 1);
  if (!options.expires) return ok_status();
  wanted.end = pkcs11_date(*options.expires - kPkcs11DaySeconds);
  const auto seconds = [](const std::optional<CK_DATE>& date) {
    return date ? pkcs11_date_seconds(std::as_bytes(std::span(&*date, 1))).value_or(0) : 0;
  };
  const std::int64_t ends = seconds(wanted.end) + kPkcs11DaySeconds;
  const std::int64_t begins = options.not_before ? seconds(wanted.start) : 0;
  if (*options.expires > now && ends <= std::max(now, begins)) {
    return Error{ErrorCode::InvalidArgument,
                 "a token keeps days, not hours: no whole day (UTC) lies before that expiry; give a later one"};
  }
  return ok_status();
}

Result<KeyVersionInfo> Pkcs11KeyVault::generate(Pkcs11NewKey wanted, const KeyOptions& options, bool must_be_new) {
  VAULTFS_RETURN_IF_ERROR(apply_dates(options, wanted));
  wanted.id = random_bytes(kNewIdBytes);
  if (wanted.type == CKK_RSA && wanted.bits != 2048 && wanted.bits != 3072 && wanted.bits != 4096) {
    return Error{ErrorCode::KeySizeUnsupported, "an RSA key has 2048, 3072 or 4096 bits here"};
  }
  const Status made = in_session<void>(
      [wanted, must_be_new, where = shown(wanted.label)](Pkcs11Session& session, Pkcs11Token& token) -> Status {
        // This runs a second time if the session was lost: by then the first run may have made the key.
        VAULTFS_ASSIGN_OR_RETURN(const auto made_before, pkcs11_find_versions(session, wanted.label, wanted.id));
        if (!made_before.empty()) return ok_status();
        if (must_be_new) {
          const auto there = pkcs11_find_versions(session, wanted.label, std::nullopt);
          if (there.ok()) {
            return Error{ErrorCode::KeyExists, "key " + where +
                                                   " exists already; for a new version of it: vaultctl key "
                                                   "rotate " +
                                                   where};
          }
          if (there.code() != ErrorCode::KeyNotFound) return there.error();
        }
        return token.with_writing_session<void>(
            session, [&](Pkcs11Session& writing) { return pkcs11_generate(writing, wanted); });
      });
  VAULTFS_RETURN_IF_ERROR(made);
  // This also records when it was first seen, before any later version can be.
  VAULTFS_ASSIGN_OR_RETURN(const auto versions, list_versions(wanted.label));
  const auto found = std::ranges::find(versions, to_hex(wanted.id), &KeyVersionInfo::id);
  if (found != versions.end()) return *found;
  return Error{ErrorCode::KeyVaultUnavailable, "the token made a key of " + shown(wanted.label) + " and lists it not"};
}

Result<KeyVersionInfo> Pkcs11KeyVault::create_key(const std::string& key, const KeyOptions& options) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  Pkcs11NewKey wanted;
  wanted.label = key;
  wanted.bits = options.bits;
  wanted.start = pkcs11_date(env_.clock().now().seconds());
  return generate(std::move(wanted), options, true);
}

Result<KeyVersionInfo> Pkcs11KeyVault::rotate_key(const std::string& key, const KeyOptions& options, bool keep_bits) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyVersionInfo> versions, list_versions(key));
  // What can be no KEK is no model for one, where there is another.
  std::vector<KeyVersionInfo> models = versions;
  std::erase_if(models, [](const auto& info) { return info.key_type != "RSA" && info.key_type != "AES"; });
  const KeyVersionInfo& newest = models.empty() ? versions.back() : models.back();
  Pkcs11NewKey wanted;
  wanted.label = key;
  wanted.bits = keep_bits ? newest.bits : options.bits;
  if (newest.key_type.starts_with("AES")) {
    wanted.type = CKK_AES;
  } else if (!newest.key_type.starts_with("RSA")) {
    return Error{ErrorCode::KeyNotRsa, "key " + shown(key) + " is of type " + newest.key_type + ", which is no KEK"};
  }
  // A start date beside versions that have none would make it older than those on a machine that sees all of them at
  // once; and SoftHSM can't give out the dates of an AES key.
  const bool all_dated = std::ranges::all_of(models, [](const auto& info) { return info.not_before.has_value(); });
  if (all_dated && wanted.type == CKK_RSA) wanted.start = pkcs11_date(env_.clock().now().seconds());
  return generate(std::move(wanted), options, false);
}

Status Pkcs11KeyVault::set_enabled(const std::string& key, const std::string& version, bool enabled) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  return in_session<void>(
      [key, version, enabled, where = shown(key)](Pkcs11Session& session, Pkcs11Token& token) -> Status {
        return token.with_writing_session<void>(session, [&](Pkcs11Session& writing) -> Status {
          VAULTFS_ASSIGN_OR_RETURN(const Pkcs11KeyObject found, find_version(writing, key, where, version));
          return pkcs11_set_enabled(writing, found, enabled);
        });
      });
}

Status Pkcs11KeyVault::delete_key(const std::string&) {
  return not_supported("delete a key so that it can be recovered",
                       "a token destroys objects for good: disable its versions, or, if nothing will ever need them, "
                       "use pkcs11-tool --delete-object");
}

Status Pkcs11KeyVault::recover_key(const std::string&) {
  return not_supported("recover a deleted key",
                       "a token has no soft delete: import a copy of the key with its own tools");
}

Status Pkcs11KeyVault::purge_key(const std::string&) {
  return not_supported("purge a key", "a token has no soft delete: use pkcs11-tool --delete-object");
}

}  // namespace

Result<std::unique_ptr<AdministeredKeyVault>> open_pkcs11_key_vault(const ProviderContext& context) {
  VAULTFS_ASSIGN_OR_RETURN(Pkcs11Options options, Pkcs11Options::parse(context.options));
  // Who speaks to a token is a PIN: an identity's own goes before the key vault's.
  if (const auto own = context.identity.options.find("pin-file"); own != context.identity.options.end()) {
    ProviderOptions with_own = context.options;
    with_own["pin-file"] = own->second;
    VAULTFS_ASSIGN_OR_RETURN(options, Pkcs11Options::parse(with_own));
  }
  return std::unique_ptr<AdministeredKeyVault>(std::make_unique<Pkcs11KeyVault>(context, std::move(options)));
}

}  // namespace vaultfs
