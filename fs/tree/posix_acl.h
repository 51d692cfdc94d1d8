#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace vaultfs {

inline constexpr std::string_view kAccessAcl = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAcl = "system.posix_acl_default";

// A POSIX.1e access control list (withdrawn draft 17) as Linux shows it in an extended attribute: u32 2 ‖ entries of
// u16 tag ‖ u16 permissions ‖ u32 id, ascending by tag, little-endian. The kernel enforces it; what is here keeps it
// and the mode in step.
class PosixAcl {
 public:
  // InvalidArgument unless it is a list that acl_valid(3) would accept.
  [[nodiscard]] static Result<PosixAcl> parse(ByteView value);
  [[nodiscard]] Bytes encode() const;

  // The nine permission bits that stat shows for this list: the mask stands for the group where there is one.
  [[nodiscard]] std::uint32_t permissions() const;
  // True if the mode says all that the list does.
  [[nodiscard]] bool only_mode() const;
  // chmod: owner, mask (or group) and others become those of the mode.
  void set_permissions(std::uint32_t mode);
  // A file made in a directory with this default list: no right goes beyond what `mode` asks for.
  void restrict_to(std::uint32_t mode);

 private:
  struct Entry {
    std::uint16_t tag = 0;
    std::uint16_t permissions = 0;
    std::uint32_t id = 0;
  };
  [[nodiscard]] Entry* find(std::uint16_t tag);
  [[nodiscard]] const Entry* find(std::uint16_t tag) const;
  // The entry that the mode's group bits stand for.
  [[nodiscard]] Entry& group_class();

  std::vector<Entry> entries_;
};

}  // namespace vaultfs
