#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

inline std::ostream& operator<<(std::ostream& out, ErrorCode code) { return out << error_name(code); }

// The value, or a failed test that shows the error.
template <typename T>
T value_of(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(std::string(error_name(result.code())) + ": " + result.error().message);
  return std::move(result).value();
}

inline void succeed(const Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(error_name(status.code())) + ": " + status.error().message);
}

// EXPECT_TRUE(fails(call(), ErrorCode::X, "part of its message"))
template <typename T>
::testing::AssertionResult fails(const Result<T>& result, ErrorCode code, std::string_view part = {}) {
  if (result.ok()) return ::testing::AssertionFailure() << "succeeded instead of " << error_name(code);
  if (result.code() != code || result.error().message.find(part) == std::string::npos) {
    return ::testing::AssertionFailure() << error_name(result.code()) << ": " << result.error().message
                                         << "\n  expected " << error_name(code) << ": …" << part << "…";
  }
  return ::testing::AssertionSuccess();
}

inline SecretBuffer secret(std::string_view text) { return value_of(SecretBuffer::copy_of(bytes_of(text))); }

inline std::string text_of(const SecretBuffer& buffer) { return std::string(text_of(buffer.view())); }

}  // namespace vaultfs
