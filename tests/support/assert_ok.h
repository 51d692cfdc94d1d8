#pragma once

#include <gtest/gtest.h>

#include "base/error_code.h"

// Ends the test with the error's name and message unless the Status or Result is ok.
#define ASSERT_OK(expression)                                                                                   \
  do {                                                                                                          \
    const auto& assert_ok_result = (expression);                                                                \
    ASSERT_TRUE(assert_ok_result.ok()) << #expression << ": " << ::vaultfs::error_name(assert_ok_result.code()) \
                                       << ": " << assert_ok_result.error().message;                             \
  } while (false)
