#pragma once

#include <cstdlib>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/error_code.h"

namespace vaultfs {

// An error as it travels up: its stable code, what happened, and (where known) what to do about it.
// The message never contains a secret, file data or a name from inside a vault.
struct Error {
  ErrorCode code = ErrorCode::Internal;
  std::string message;
};

// A value or an Error. Reading the wrong side is a programmer's error and aborts.
template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  [[nodiscard]] T& value() & {
    require(ok());
    return *std::get_if<0>(&state_);
  }
  [[nodiscard]] const T& value() const& {
    require(ok());
    return *std::get_if<0>(&state_);
  }
  [[nodiscard]] T&& value() && {
    require(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  [[nodiscard]] const Error& error() const& {
    require(!ok());
    return *std::get_if<1>(&state_);
  }
  [[nodiscard]] Error&& error() && {
    require(!ok());
    return std::move(*std::get_if<1>(&state_));
  }
  [[nodiscard]] ErrorCode code() const { return error().code; }

 private:
  static void require(bool condition) {
    if (!condition) std::abort();
  }
  std::variant<T, Error> state_;
};

// Success or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  explicit operator bool() const noexcept { return ok_; }
  [[nodiscard]] const Error& error() const& {
    if (ok_) std::abort();
    return error_;
  }
  [[nodiscard]] Error&& error() && {
    if (ok_) std::abort();
    return std::move(error_);
  }
  [[nodiscard]] ErrorCode code() const { return error().code; }

 private:
  Error error_;
  bool ok_ = true;
};

using Status = Result<void>;

[[nodiscard]] inline Status ok_status() { return {}; }

// Puts `context: ` before the message and keeps the code.
[[nodiscard]] inline Error with_context(Error error, const std::string& context) {
  error.message = context + ": " + error.message;
  return error;
}

#define VAULTFS_CONCAT_INNER(a, b) a##b
#define VAULTFS_CONCAT(a, b) VAULTFS_CONCAT_INNER(a, b)

// VAULTFS_ASSIGN_OR_RETURN(auto x, f()): x takes f's value, or the enclosing function returns f's error.
#define VAULTFS_ASSIGN_OR_RETURN(declaration, expression) \
  VAULTFS_ASSIGN_OR_RETURN_IMPL(VAULTFS_CONCAT(vaultfs_result_, __LINE__), declaration, expression)
#define VAULTFS_ASSIGN_OR_RETURN_IMPL(temporary, declaration, expression) \
  auto temporary = (expression);                                          \
  if (!temporary.ok()) return std::move(temporary).error();               \
  declaration = std::move(temporary).value()

// Returns the error of a Status (or of a Result whose value is not wanted) from the enclosing function.
#define VAULTFS_RETURN_IF_ERROR(expression)                             \
  do {                                                                  \
    auto vaultfs_status = (expression);                                 \
    if (!vaultfs_status.ok()) return std::move(vaultfs_status).error(); \
  } while (false)

}  // namespace vaultfs
