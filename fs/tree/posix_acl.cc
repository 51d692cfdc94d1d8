#include "fs/tree/posix_acl.h"

#include <algorithm>
#include <utility>

#include "base/byte_codec.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kAclVersion = 2;
constexpr std::size_t kAclEntryBytes = 8;
constexpr std::uint16_t kOwner = 0x01;
constexpr std::uint16_t kNamedUser = 0x02;
constexpr std::uint16_t kGroup = 0x04;
constexpr std::uint16_t kNamedGroup = 0x08;
constexpr std::uint16_t kMask = 0x10;
constexpr std::uint16_t kOther = 0x20;
constexpr std::uint32_t kAll = 07;

Error senseless() { return {ErrorCode::InvalidArgument, "that is no valid access control list"}; }

}  // namespace

Result<PosixAcl> PosixAcl::parse(ByteView value) {
  ByteReader in(value);
  if (in.u32() != kAclVersion || in.failed() || in.remaining() % kAclEntryBytes != 0) return senseless();
  PosixAcl acl;
  bool named = false;
  while (in.remaining() > 0) {
    Entry entry;
    entry.tag = in.u16();
    entry.permissions = in.u16();
    entry.id = in.u32();
    const bool is_named = entry.tag == kNamedUser || entry.tag == kNamedGroup;
    const bool known =
        is_named || entry.tag == kOwner || entry.tag == kGroup || entry.tag == kMask || entry.tag == kOther;
    if (!known || entry.permissions > kAll) return senseless();
    if (!acl.entries_.empty()) {
      const Entry& last = acl.entries_.back();
      // Each of the unnamed ones stands there once; named ones may come in any order of their ids.
      if (entry.tag < last.tag || (entry.tag == last.tag && !is_named)) return senseless();
    }
    named = named || is_named;
    acl.entries_.push_back(entry);
  }
  const bool complete = acl.find(kOwner) != nullptr && acl.find(kGroup) != nullptr && acl.find(kOther) != nullptr;
  if (!complete || (named && acl.find(kMask) == nullptr)) return senseless();
  return acl;
}

Bytes PosixAcl::encode() const {
  ByteWriter out;
  out.u32(kAclVersion);
  for (const Entry& entry : entries_) {
    out.u16(entry.tag);
    out.u16(entry.permissions);
    out.u32(entry.id);
  }
  return std::move(out).take();
}

PosixAcl::Entry* PosixAcl::find(std::uint16_t tag) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.tag == tag; });
  return found == entries_.end() ? nullptr : &*found;
}

const PosixAcl::Entry* PosixAcl::find(std::uint16_t tag) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.tag == tag; });
  return found == entries_.end() ? nullptr : &*found;
}

PosixAcl::Entry& PosixAcl::group_class() {
  Entry* mask = find(kMask);
  return mask != nullptr ? *mask : *find(kGroup);
}

std::uint32_t PosixAcl::permissions() const {
  const Entry* mask = find(kMask);
  const std::uint32_t group = (mask != nullptr ? mask : find(kGroup))->permissions;
  return std::uint32_t{find(kOwner)->permissions} << 6U | group << 3U | std::uint32_t{find(kOther)->permissions};
}

bool PosixAcl::only_mode() const {
  return std::all_of(entries_.begin(), entries_.end(),
                     [](const Entry& e) { return e.tag == kOwner || e.tag == kGroup || e.tag == kOther; });
}

void PosixAcl::set_permissions(std::uint32_t mode) {
  find(kOwner)->permissions = static_cast<std::uint16_t>(mode >> 6U & kAll);
  group_class().permissions = static_cast<std::uint16_t>(mode >> 3U & kAll);
  find(kOther)->permissions = static_cast<std::uint16_t>(mode & kAll);
}

void PosixAcl::restrict_to(std::uint32_t mode) { set_permissions(permissions() & mode); }

}  // namespace vaultfs
