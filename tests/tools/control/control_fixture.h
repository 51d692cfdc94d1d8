#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "tests/support/scratch_directory.h"
#include "tools/control/control_client.h"
#include "tools/control/control_server.h"
#include "tools/control/socket_path.h"

namespace vaultfs {

// A directory that looks like a vault as far as the socket is concerned, and a runtime directory of its own.
class ControlTest : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("VAULTFS_RUNTIME_DIR", (scratch_ / "run").c_str(), 1);
    std::filesystem::create_directory(vault());
    std::ofstream(vault() / "vault.lock") << "1\n";
    const auto directories = make_runtime_directories();
    ASSERT_TRUE(directories.ok()) << directories.error().message;
    const auto name = control_socket_name(vault());
    ASSERT_TRUE(name.ok()) << name.error().message;
    socket_ = scratch_ / "run" / name->name;
  }
  void TearDown() override { ::unsetenv("VAULTFS_RUNTIME_DIR"); }

  [[nodiscard]] std::filesystem::path vault() const { return scratch_ / "vault"; }
  [[nodiscard]] std::unique_ptr<ControlServer> start(ControlServer::Handler handler) const {
    auto server = ControlServer::start({socket_}, std::move(handler));
    EXPECT_TRUE(server.ok()) << (server.ok() ? "" : server.error().message);
    return server.ok() ? std::move(*server) : nullptr;
  }
  [[nodiscard]] Result<nlohmann::json> ask(const std::string& verb,
                                           const nlohmann::json& arguments = nlohmann::json::object()) const {
    VAULTFS_ASSIGN_OR_RETURN(const auto owner, connect_to_owner(vault()));
    if (!owner) return Error{ErrorCode::NotFound, "nobody listens"};
    return ask_owner(*owner, verb, arguments, {}, {});
  }
  [[nodiscard]] static Result<nlohmann::json> echo(const Caller&, Message& request,
                                                   const ControlServer::SendProgress&) {
    return request.body["arguments"];
  }

  ScratchDirectory scratch_;
  std::filesystem::path socket_;
};

}  // namespace vaultfs
