#include "base/files/user_home.h"

#include <pwd.h>

#include <cerrno>
#include <string>
#include <vector>

namespace vaultfs {

std::filesystem::path user_home(uid_t user) {
  constexpr std::size_t kMostBytes = std::size_t{1} << 20;
  std::vector<char> room(4096);
  while (true) {
    struct passwd entry {};
    struct passwd* found = nullptr;
    const int problem = ::getpwuid_r(user, &entry, room.data(), room.size(), &found);
    if (problem == ERANGE && room.size() < kMostBytes) {
      room.resize(room.size() * 2);
      continue;
    }
    if (problem != 0 || found == nullptr || found->pw_dir == nullptr) return {};
    std::filesystem::path home = found->pw_dir;
    return home.is_absolute() ? home : std::filesystem::path{};
  }
}

}  // namespace vaultfs
