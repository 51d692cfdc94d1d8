#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>

namespace vaultfs {
namespace {

constexpr ErrorCode kAllCodes[] = {
#define VAULTFS_V(name, exit_code, errno_value) ErrorCode::name,
    VAULTFS_ERROR_CODES(VAULTFS_V)
#undef VAULTFS_V
};

Result<int> half(int value) {
  if (value % 2 != 0) return Error{ErrorCode::InvalidArgument, "odd"};
  return value / 2;
}

Result<int> quarter(int value) {
  VAULTFS_ASSIGN_OR_RETURN(const int once, half(value));
  VAULTFS_ASSIGN_OR_RETURN(const int twice, half(once));
  return twice;
}

Status check(int value) {
  VAULTFS_RETURN_IF_ERROR(quarter(value));
  return ok_status();
}

TEST(Result, CarriesAValueOrAnError) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(quarter(6).error().message, "odd");
  EXPECT_TRUE(check(4).ok());
  EXPECT_EQ(check(5).code(), ErrorCode::InvalidArgument);
  Result<std::unique_ptr<int>> moved(std::make_unique<int>(7));
  EXPECT_EQ(*std::move(moved).value(), 7);
  EXPECT_EQ(with_context({ErrorCode::NoSpace, "full"}, "writing").message, "writing: full");
  EXPECT_EQ(with_context({ErrorCode::NoSpace, "full"}, "writing").code, ErrorCode::NoSpace);
}

TEST(ResultDeathTest, ReadingTheWrongSideAborts) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH((void)half(1).value(), "");
  EXPECT_DEATH((void)half(2).error(), "");
  EXPECT_DEATH((void)check(4).error(), "");
}

TEST(ErrorCode, NamesAreUniqueAndNumbersSensible) {
  std::set<std::string_view> names;
  for (const ErrorCode code : kAllCodes) {
    EXPECT_TRUE(names.insert(error_name(code)).second) << error_name(code);
    EXPECT_GT(error_exit_code(code), 0) << error_name(code);
    EXPECT_LT(error_exit_code(code), 126) << error_name(code) << ": the shell's own codes begin there";
    EXPECT_GT(error_errno(code), 0) << error_name(code);
  }
  EXPECT_EQ(names.size(), std::size(kAllCodes));
}

// Scripts rely on these; a change here is a break of the command line's contract.
TEST(ErrorCode, SomeThatScriptsMatchOn) {
  EXPECT_EQ(error_name(ErrorCode::KeyVersionInUse), "KeyVersionInUse");
  EXPECT_EQ(error_exit_code(ErrorCode::KeyVersionInUse), 8);
  EXPECT_EQ(error_exit_code(ErrorCode::RollbackDetected), 11);
  EXPECT_EQ(error_exit_code(ErrorCode::WrongPassphrase), 22);
  EXPECT_EQ(error_errno(ErrorCode::KeyRevoked), EKEYREVOKED);
}

TEST(ErrorCode, EveryIntegrityErrorIsEio) {
  std::size_t count = 0;
  for (const ErrorCode code : kAllCodes) {
    if (!is_integrity_error(code)) continue;
    ++count;
    EXPECT_EQ(error_errno(code), EIO) << error_name(code);
  }
  EXPECT_GE(count, 15U);
  EXPECT_TRUE(is_integrity_error(ErrorCode::AuthenticationFailed));
  EXPECT_TRUE(is_integrity_error(ErrorCode::RollbackDetected));
  EXPECT_FALSE(is_integrity_error(ErrorCode::NoSpace));
  EXPECT_FALSE(is_integrity_error(ErrorCode::WrongKey));
}

TEST(ErrorCode, ErrnoOfTheSystemKeepsItsMeaning) {
  for (const int value : {ENOENT, EEXIST, EACCES, EPERM, ENOTDIR, EISDIR, ENOTEMPTY, ENOSPC, EROFS, EFBIG, ENAMETOOLONG,
                          EINVAL, EAGAIN, EINTR, EOPNOTSUPP, EXDEV}) {
    EXPECT_EQ(error_errno(error_from_errno(value)), value) << value;
  }
  EXPECT_EQ(error_from_errno(EDQUOT), ErrorCode::NoSpace);
  EXPECT_EQ(error_from_errno(EIO), ErrorCode::IoError);
  EXPECT_EQ(error_from_errno(12345), ErrorCode::IoError);
}

}  // namespace
}  // namespace vaultfs
