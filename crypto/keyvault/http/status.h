#pragma once

namespace vaultfs {

// The statuses of RFC 9110 section 15 (429: RFC 6585 section 4) that providers answer with and that are told apart.
inline constexpr int kHttpBadRequest = 400;
inline constexpr int kHttpUnauthorized = 401;
inline constexpr int kHttpForbidden = 403;
inline constexpr int kHttpNotFound = 404;
inline constexpr int kHttpConflict = 409;
inline constexpr int kHttpTooManyRequests = 429;
inline constexpr int kHttpServerErrors = 500;  // this and above

}  // namespace vaultfs
