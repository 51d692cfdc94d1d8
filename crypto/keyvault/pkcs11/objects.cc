#include "crypto/keyvault/pkcs11/objects.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>

#include "crypto/keyvault/pkcs11/certificate.h"
#include "crypto/keyvault/pkcs11/error.h"
#include "crypto/keyvault/pkcs11/mechanisms.h"

namespace vaultfs {
namespace {

constexpr std::array<CK_OBJECT_CLASS, 2> kKeyClasses{CKO_PRIVATE_KEY, CKO_SECRET_KEY};
constexpr CK_KEY_TYPE kUnknownType = 1UL << 31U;  // CKK_VENDOR_DEFINED

// A date as the token gives it.
struct ReadDate {
  std::optional<std::int64_t> seconds;  // nothing: no date is set
  bool withheld = false;                // it is set, but the token can't give it out
};

unsigned bit_length(ByteView number) {
  const auto first = std::ranges::find_if(number, [](std::byte b) { return b != std::byte{0}; });
  if (first == number.end()) return 0;
  unsigned bits = static_cast<unsigned>(number.end() - first) * 8;
  for (auto top = std::to_integer<unsigned>(*first); (top & 0x80U) == 0; top <<= 1U) --bits;
  return bits;
}

Result<Pkcs11KeyObject> read_key(Pkcs11Session& session, CK_OBJECT_HANDLE handle) {
  Pkcs11KeyObject key;
  key.handle = handle;
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<CK_ULONG> type, session.number(handle, CKA_KEY_TYPE));
  key.type = type.value_or(kUnknownType);
  VAULTFS_ASSIGN_OR_RETURN(const Bytes id, session.bytes(handle, CKA_ID));
  key.id = to_hex(id);
  VAULTFS_ASSIGN_OR_RETURN(key.may_decrypt, session.flag(handle, CKA_DECRYPT));
  if (key.is_rsa()) {
    VAULTFS_ASSIGN_OR_RETURN(key.modulus, session.bytes(handle, CKA_MODULUS));
    VAULTFS_ASSIGN_OR_RETURN(key.exponent, session.bytes(handle, CKA_PUBLIC_EXPONENT));
    key.bits = bit_length(key.modulus);
  } else if (key.is_aes()) {
    VAULTFS_ASSIGN_OR_RETURN(const std::optional<CK_ULONG> length, session.number(handle, CKA_VALUE_LEN));
    key.bits = static_cast<unsigned>(length.value_or(0) * kBitsPerByte);
  }
  return key;
}

// Empty by the standard; modules also fill the eight characters with zeros or blanks.
bool is_no_date(ByteView date) {
  return std::ranges::all_of(date, [](std::byte b) { return b == std::byte{0} || b == std::byte{' '}; }) ||
         text_of(date) == "00000000";
}

Result<ReadDate> read_date(Pkcs11Session& session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) {
  const auto value = session.bytes(object, type);
  if (value.ok()) {
    if (is_no_date(*value)) return ReadDate{};
    const auto seconds = pkcs11_date_seconds(*value);
    return ReadDate{seconds, !seconds};
  }
  if (session.lost()) return value.error();
  // SoftHSM 2.6 keeps a private object's dates in the clear, decrypts them to give them out, and fails: with a token
  // that otherwise works that is no outage.
  VAULTFS_RETURN_IF_ERROR(session.bytes(object, CKA_CLASS));
  return ReadDate{std::nullopt, true};
}

// The public half of a pair, if the token has exactly one.
Result<std::optional<CK_OBJECT_HANDLE>> find_public_half(Pkcs11Session& session, const Pkcs11KeyObject& pair) {
  if (pair.modulus.empty()) return std::optional<CK_OBJECT_HANDLE>();
  CK_OBJECT_CLASS object_class = CKO_PUBLIC_KEY;
  Bytes id;
  (void)from_hex(pair.id, id);
  VAULTFS_ASSIGN_OR_RETURN(
      const auto found, session.find({pkcs11_attribute(CKA_CLASS, object_class), pkcs11_attribute(CKA_ID, ByteView(id)),
                                      pkcs11_attribute(CKA_MODULUS, ByteView(pair.modulus))}));
  if (found.size() != 1) return std::optional<CK_OBJECT_HANDLE>();
  return std::optional(found.front());
}

// PKCS#11 v2.40 section 4.4: a session without a login makes public objects, and sees them. Where no login is wanted,
// all objects are public, and the token is as open as its owner wants it.
Result<bool> tells_owners_apart(Pkcs11Session& session) {
  CK_TOKEN_INFO token{};
  const CK_RV answer = session.functions().C_GetTokenInfo(session.slot(), &token);
  if (answer != CKR_OK) return session.lose("C_GetTokenInfo", answer);
  return (token.flags & CKF_LOGIN_REQUIRED) != 0;
}

void drop_planted_doubles(std::vector<Pkcs11KeyObject>& versions) {
  std::set<std::string> owners;
  for (const Pkcs11KeyObject& version : versions) {
    if (version.flaw != Pkcs11Flaw::is_public) owners.insert(version.id);
  }
  std::erase_if(versions, [&](const Pkcs11KeyObject& version) {
    return version.flaw == Pkcs11Flaw::is_public && owners.contains(version.id);
  });
}

}  // namespace

Result<std::vector<Pkcs11KeyObject>> pkcs11_find_versions(Pkcs11Session& session, const std::string& label,
                                                          const std::optional<Bytes>& id) {
  std::vector<Pkcs11KeyObject> versions;
  bool owner_has_unnamed = false;
  CK_BBOOL on_token = CK_TRUE;
  for (CK_OBJECT_CLASS object_class : kKeyClasses) {
    std::vector<CK_ATTRIBUTE> wanted{pkcs11_attribute(CKA_CLASS, object_class), pkcs11_attribute(CKA_TOKEN, on_token),
                                     pkcs11_attribute(CKA_LABEL, std::string_view(label))};
    if (id) wanted.push_back(pkcs11_attribute(CKA_ID, ByteView(*id)));
    VAULTFS_ASSIGN_OR_RETURN(const auto found, session.find(std::move(wanted)));
    for (const CK_OBJECT_HANDLE handle : found) {
      VAULTFS_ASSIGN_OR_RETURN(Pkcs11KeyObject key, read_key(session, handle));
      VAULTFS_ASSIGN_OR_RETURN(const bool is_private, session.flag(handle, CKA_PRIVATE));
      if (!is_private) {
        VAULTFS_ASSIGN_OR_RETURN(const bool is_flaw, tells_owners_apart(session));
        if (is_flaw) key.flaw = Pkcs11Flaw::is_public;
      }
      if (!key.id.empty() && key.id.size() <= 2 * kPkcs11IdLimitBytes) {
        versions.push_back(std::move(key));
      } else if (key.flaw == Pkcs11Flaw::none) {
        owner_has_unnamed = true;
      }
    }
  }
  drop_planted_doubles(versions);
  if (!versions.empty() || id) return versions;
  if (owner_has_unnamed) {
    return Error{ErrorCode::NotSupportedByProvider, "the objects labelled " + label +
                                                        " have no CKA_ID of 1 to 64 bytes, so no version can be named; "
                                                        "give each one of its own (pkcs11-tool --set-id)"};
  }
  return Error{ErrorCode::KeyNotFound,
               "the token has no key labelled " + label +
                   "; see which it has with: pkcs11-tool --module MODULE --login --list-objects"};
}

Status pkcs11_check_distinct(const std::vector<Pkcs11KeyObject>& versions, const std::string& label) {
  std::set<std::string_view> seen;
  for (const Pkcs11KeyObject& version : versions) {
    if (!seen.insert(version.id).second) {
      return Error{ErrorCode::NotSupportedByProvider,
                   "two objects labelled " + label + " have the CKA_ID " + version.id +
                       ", so it is not certain which is meant; give one of them another label"};
    }
  }
  return ok_status();
}

Status pkcs11_check_flawless(const Pkcs11KeyObject& key) {
  const auto refuse = [&](const char* why) {
    return Error{ErrorCode::NotSupportedByProvider, "key version " + key.id + why};
  };
  switch (key.flaw) {
    case Pkcs11Flaw::none:
      return ok_status();
    case Pkcs11Flaw::is_public:
      return refuse(
          " is a public object (CKA_PRIVATE is false), which anybody who reaches the token can have put there: it "
          "wraps nothing; make a private key, and find out whose this is");
    case Pkcs11Flaw::shares_its_id:
      return refuse(
          " is two objects of one label and CKA_ID, so it is not certain which is meant; give one of them "
          "another label");
    case Pkcs11Flaw::dates_withheld:
      return refuse(
          " has a start or end date that its token does not give out; for an RSA pair, set the dates on the public key "
          "as well");
  }
  return Error{ErrorCode::Internal, "unknown flaw"};
}

Result<Pkcs11DatedKey> pkcs11_add_dates(Pkcs11Session& session, Pkcs11KeyObject key) {
  Pkcs11DatedKey dated;
  VAULTFS_ASSIGN_OR_RETURN(ReadDate start, read_date(session, key.handle, CKA_START_DATE));
  VAULTFS_ASSIGN_OR_RETURN(ReadDate end, read_date(session, key.handle, CKA_END_DATE));
  if (key.is_rsa() && (!start.seconds || !end.seconds)) {
    VAULTFS_ASSIGN_OR_RETURN(const auto half, find_public_half(session, key));
    if (half) {
      VAULTFS_ASSIGN_OR_RETURN(const ReadDate public_start, read_date(session, *half, CKA_START_DATE));
      VAULTFS_ASSIGN_OR_RETURN(const ReadDate public_end, read_date(session, *half, CKA_END_DATE));
      if (!start.seconds && (public_start.seconds || public_start.withheld)) start = public_start;
      if (!end.seconds && (public_end.seconds || public_end.withheld)) end = public_end;
    }
  }
  if ((start.withheld || end.withheld) && key.flaw == Pkcs11Flaw::none) key.flaw = Pkcs11Flaw::dates_withheld;
  dated.key = std::move(key);
  dated.start = start.seconds;
  if (end.seconds) dated.end = *end.seconds + kPkcs11DaySeconds;  // the key is good through its last day
  return dated;
}

Result<std::vector<Pkcs11DatedKey>> pkcs11_list_versions(Pkcs11Session& session, const std::string& label) {
  VAULTFS_ASSIGN_OR_RETURN(std::vector<Pkcs11KeyObject> versions, pkcs11_find_versions(session, label, std::nullopt));
  std::map<std::string, std::size_t> count;
  for (const Pkcs11KeyObject& version : versions) ++count[version.id];
  std::vector<Pkcs11DatedKey> dated;
  for (Pkcs11KeyObject& version : versions) {
    std::size_t& left = count[version.id];
    if (left == 0) continue;  // listed already
    if (left > 1 && version.flaw == Pkcs11Flaw::none) version.flaw = Pkcs11Flaw::shares_its_id;
    left = 0;
    VAULTFS_ASSIGN_OR_RETURN(const bool of_certificate, pkcs11_has_certificate(session, version));
    VAULTFS_ASSIGN_OR_RETURN(Pkcs11DatedKey with_dates, pkcs11_add_dates(session, std::move(version)));
    with_dates.of_certificate = of_certificate;
    dated.push_back(std::move(with_dates));
  }
  return dated;
}

Result<std::vector<std::string>> pkcs11_list_labels(Pkcs11Session& session) {
  std::set<std::string> labels;
  CK_BBOOL on_token = CK_TRUE;
  for (CK_OBJECT_CLASS object_class : kKeyClasses) {
    VAULTFS_ASSIGN_OR_RETURN(const auto found, session.find({pkcs11_attribute(CKA_CLASS, object_class),
                                                             pkcs11_attribute(CKA_TOKEN, on_token)}));
    for (const CK_OBJECT_HANDLE handle : found) {
      VAULTFS_ASSIGN_OR_RETURN(const Bytes label, session.bytes(handle, CKA_LABEL));
      labels.emplace(text_of(ByteView(label)));
    }
  }
  return std::vector<std::string>(labels.begin(), labels.end());
}

CK_DATE pkcs11_date(std::int64_t unix_seconds) noexcept {
  using std::chrono::days;
  using std::chrono::sys_seconds;
  const auto day = std::chrono::floor<days>(sys_seconds(std::chrono::seconds(unix_seconds)));
  const std::chrono::year_month_day date(day);
  std::array<char, 32> text{};
  static_cast<void>(std::snprintf(text.data(), text.size(), "%04d%02u%02u", static_cast<int>(date.year()),
                                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day())));
  CK_DATE out{};
  static_assert(sizeof(out) == 8);
  std::memcpy(&out, text.data(), sizeof(out));
  return out;
}

std::optional<std::int64_t> pkcs11_date_seconds(ByteView date) noexcept {
  if (date.size() != sizeof(CK_DATE)) return std::nullopt;
  const std::string_view text = text_of(date);
  if (!std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
  const auto value = [&](std::size_t at, std::size_t digits) {
    unsigned number = 0;
    for (const char c : text.substr(at, digits)) number = number * 10 + static_cast<unsigned>(c - '0');
    return number;
  };
  const std::chrono::year_month_day day(std::chrono::year(static_cast<int>(value(0, 4))),
                                        std::chrono::month(value(4, 2)), std::chrono::day(value(6, 2)));
  if (!day.ok()) return std::nullopt;
  return std::chrono::seconds(std::chrono::sys_days(day).time_since_epoch()).count();
}

}  // namespace vaultfs
