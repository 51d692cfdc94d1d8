#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "crypto/keyvault/pkcs11/pkcs11_key_vault.h"
#include "tests/crypto/keyvault/outcome.h"
#include "tests/support/scratch_directory.h"

namespace vaultfs {

inline constexpr const char* kSoftHsmModule = "/usr/lib/softhsm/libsofthsm2.so";

inline KeyOptions small_pair() { return {.bits = 2048, .not_before = {}, .expires = {}}; }

// A SoftHSM token "t1" of its own in a scratch directory. SoftHSM reads SOFTHSM2_CONF when it is initialised: so there
// is one SoftToken at a time, and it outlives the key vaults on it.
class SoftToken {
 public:
  static constexpr const char* kPin = "1234";

  SoftToken() {
    std::filesystem::create_directory(tokens());
    write("softhsm2.conf", "directories.tokendir = " + tokens().string() +
                               "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = true\n");
    ::setenv("SOFTHSM2_CONF", (scratch_ / "softhsm2.conf").c_str(), 1);
    add_token("t1");
    write_pin(kPin);
  }

  void add_token(const std::string& label) {
    run({"softhsm2-util", "--init-token", "--free", "--label", label, "--pin", kPin, "--so-pin", "567890"});
  }
  void write_pin(const std::string& pin, unsigned mode = 0600) {
    write("pin", pin + "\n");
    std::filesystem::permissions(scratch_ / "pin", static_cast<std::filesystem::perms>(mode));
  }
  void set_pin_at_token(const std::string& pin) {
    run({"pkcs11-tool", "--module", kSoftHsmModule, "--token-label", "t1", "--login", "--login-type", "so", "--so-pin",
         "567890", "--init-pin", "--new-pin", pin});
  }
  // pkcs11-tool, logged in to the token.
  std::string tool(std::vector<std::string> arguments) {
    std::vector<std::string> command{"pkcs11-tool", "--module", kSoftHsmModule,  "--login",
                                     "--pin",       kPin,       "--token-label", "t1"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return run(command);
  }
  // An AES key that a stranger knows, made as anybody can who reaches the token: without its PIN.
  void plant(const std::string& label, const std::string& id) {
    write("known", std::string(32, 'k'));
    std::vector<std::string> command{"pkcs11-tool",    "--module",    kSoftHsmModule, "--token-label", "t1",
                                     "--write-object", path("known"), "--type",       "secrkey",       "--key-type",
                                     "AES:32",         "--label",     label};
    if (!id.empty()) command.insert(command.end(), {"--id", id});
    run(command);
  }
  // A stranger's public key (DER), likewise put there without the PIN.
  void plant_public_key(const std::string& label, const std::string& id, const std::string& file) {
    run({"pkcs11-tool", "--module", kSoftHsmModule, "--token-label", "t1", "--write-object", file, "--type", "pubkey",
         "--label", label, "--id", id});
  }
  // All slots and tokens, without a login.
  std::string list_slots() { return run({"pkcs11-tool", "--module", kSoftHsmModule, "--list-slots"}); }
  void take_away() { std::filesystem::rename(tokens(), scratch_ / "away"); }
  void put_back() { std::filesystem::rename(scratch_ / "away", tokens()); }

  [[nodiscard]] ProviderOptions options(const std::string& module = kSoftHsmModule) const {
    return {{"module", module}, {"token", "t1"}, {"pin-file", (scratch_ / "pin").string()}};
  }
  [[nodiscard]] ProviderContext context(ProviderOptions options, const std::string& state = "state") const {
    return {posix_env(), scratch_ / state, "hsm", std::move(options), {}};
  }
  [[nodiscard]] std::unique_ptr<AdministeredKeyVault> open() const { return open(options()); }
  [[nodiscard]] std::unique_ptr<AdministeredKeyVault> open(ProviderOptions options,
                                                           const std::string& state = "state") const {
    return value_of(open_pkcs11_key_vault(context(std::move(options), state)));
  }
  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return scratch_ / name; }

 private:
  [[nodiscard]] std::filesystem::path tokens() const { return scratch_ / "tokens"; }
  void write(const std::string& name, const std::string& content) { std::ofstream(scratch_ / name) << content; }

  // What the command prints. Its failure is the test's.
  std::string run(const std::vector<std::string>& command) {
    const std::filesystem::path out = scratch_ / "output";
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t child = 0;
    const int spawned = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    int status = -1;
    if (spawned == 0) ::waitpid(child, &status, 0);
    std::ifstream printed(out);
    std::string text((std::istreambuf_iterator<char>(printed)), std::istreambuf_iterator<char>());
    if (spawned != 0 || status != 0) {
      throw std::runtime_error(command[0] + " failed with " + std::to_string(status) + ": " + text);
    }
    return text;
  }

  ScratchDirectory scratch_;
};

inline std::vector<std::string> version_ids(AdministeredKeyVault& vault, const std::string& key) {
  std::vector<std::string> ids;
  for (const KeyVersionInfo& version : value_of(vault.list_versions(key))) ids.push_back(version.id);
  return ids;
}

}  // namespace vaultfs
