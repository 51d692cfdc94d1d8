#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/sim_env.h"

namespace vaultfs {

inline Bytes filled(std::size_t size, int value) { return Bytes(size, static_cast<std::byte>(value)); }

inline std::unique_ptr<File> create(SimEnv& env, const Env::Path& path) {
  auto file = env.open(path, OpenMode::create_exclusive);
  EXPECT_TRUE(file.ok());
  return std::move(file).value();
}

// A durable file with durable content, open for writing.
inline std::unique_ptr<File> create_durable(SimEnv& env, const Env::Path& path, ByteView content) {
  auto file = create(env, path);
  EXPECT_TRUE(file->write_at(0, content).ok());
  EXPECT_TRUE(file->sync().ok());
  EXPECT_TRUE(env.sync_directory(path.parent_path()).ok());
  return file;
}

}  // namespace vaultfs
