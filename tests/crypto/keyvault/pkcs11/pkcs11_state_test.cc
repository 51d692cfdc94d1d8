#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "crypto/keyvault/pkcs11/first_seen.h"
#include "crypto/keyvault/pkcs11/pin.h"
#include "crypto/keyvault/pkcs11/worker.h"
#include "crypto/passphrase.h"
#include "tests/crypto/keyvault/outcome.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

using Ids = std::vector<std::string>;

Ids order(const Pkcs11SightingList& list, const std::string& key) {
  Ids ids;
  for (const Pkcs11Sighting& entry : list.entries) {
    if (entry.key == key) ids.push_back(entry.version);
  }
  return ids;
}

TEST(Pkcs11FirstSeenTest, KeepsTheOrderAlsoOfWhatIsGone) {
  SimEnv env;
  Pkcs11FirstSeen first_seen(env, "/kv");
  EXPECT_EQ(order(value_of(first_seen.see("kek", {"0b"})), "kek"), Ids{"0b"});
  EXPECT_EQ(order(value_of(first_seen.see("kek", {"0a", "0b"})), "kek"), (Ids{"0b", "0a"}));
  value_of(first_seen.see("other", {"0c"}));
  // Gone, and back again.
  value_of(first_seen.see("kek", {"0a", "0d"}));
  Pkcs11FirstSeen other_process(env, "/kv");
  EXPECT_EQ(order(value_of(other_process.see("kek", {"0d", "0b", "0a"})), "kek"), (Ids{"0b", "0a", "0d"}));
  EXPECT_EQ(order(value_of(other_process.see("other", {})), "other"), Ids{"0c"});
}

TEST(Pkcs11FirstSeenTest, TimesNeverGoBack) {
  Pkcs11SightingList list;
  EXPECT_TRUE(list.add("kek", {"0a"}, 1000));
  EXPECT_TRUE(list.add("kek", {"0b"}, 500));
  EXPECT_TRUE(list.add("other", {"0b"}, 500));
  EXPECT_FALSE(list.add("kek", {"0a", "0b"}, 2000));
  EXPECT_EQ(list.entries,
            (std::vector<Pkcs11Sighting>{{"kek", "0a", 1000}, {"kek", "0b", 1000}, {"other", "0b", 500}}));
  EXPECT_EQ(list.find("other", "0b"), 2);
  EXPECT_EQ(list.find("other", "0a"), -1);
}

TEST(Pkcs11FirstSeenTest, NothingUncertainIsSaid) {
  SimEnv env;
  Pkcs11FirstSeen first_seen(env, "/kv");
  value_of(first_seen.see("kek", {"0b"}));
  env.write("/kv/pkcs11-first-seen.json", bytes_of("{\"format\":1,"));
  EXPECT_TRUE(fails(first_seen.see("kek", {"0b"}), ErrorCode::DamagedMachineState, "/kv/pkcs11-first-seen.json"));
  env.write("/kv/pkcs11-first-seen.json", bytes_of(R"({"format":2,"versions":[]})"));
  EXPECT_TRUE(fails(first_seen.see("kek", {"0b"}), ErrorCode::UnsupportedFormat));
  const std::string twice = R"({"format":1,"versions":[{"key":"k","version":"0a","first_seen":1},)"
                            R"({"key":"k","version":"0a","first_seen":2}]})";
  EXPECT_TRUE(fails(Pkcs11SightingList::decode(twice, "F"), ErrorCode::DamagedMachineState, "twice"));
}

// A file that is too long to be read again would stop every later call.
TEST(Pkcs11FirstSeenTest, TheFileStaysReadable) {
  SimEnv env;
  Pkcs11FirstSeen first_seen(env, "/kv");
  value_of(first_seen.see("kek", {"0b"}));
  Ids many;
  for (int i = 0; i < 1000; ++i) many.push_back(std::to_string(i) + std::string(20'000, 'f'));
  const Pkcs11SightingList seen = value_of(first_seen.see("kek", many));
  EXPECT_EQ(seen.entries.size(), 1001U);
  EXPECT_EQ(order(value_of(first_seen.see("kek", {"0c"})), "kek"), (Ids{"0b", "0c"}));
}

TEST(Pkcs11FirstSeenTest, ThreadsAndObjectsAgree) {
  const ScratchDirectory scratch;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      Pkcs11FirstSeen mine(posix_env(), scratch / "kv");
      for (int n = 0; n < 5; ++n) value_of(mine.see("kek", {std::to_string(i) + std::to_string(n)}));
    });
  }
  for (std::thread& thread : threads) thread.join();
  Pkcs11FirstSeen first_seen(posix_env(), scratch / "kv");
  EXPECT_EQ(value_of(first_seen.see("kek", {})).entries.size(), 20U);
}

TEST(Pkcs11PinTest, ARefusedPinIsKnownAgainAndNotWritten) {
  SimEnv env;
  EXPECT_FALSE(value_of(read_pkcs11_refused_pin(env, "/kv")).has_value());
  const Bytes salt(Pkcs11RefusedPin::kSaltBytes, std::byte{7});
  succeed(write_pkcs11_refused_pin(env, "/kv", value_of(Pkcs11RefusedPin::of(secret("123456"), salt, true))));
  const auto read = value_of(read_pkcs11_refused_pin(env, "/kv"));
  ASSERT_TRUE(read.has_value());
  EXPECT_TRUE(value_of(read->is(secret("123456"))));
  EXPECT_FALSE(value_of(read->is(secret("123457"))));
  EXPECT_TRUE(read->counted);
  EXPECT_EQ(text_of(ByteView(env.read("/kv/pkcs11-refused-pin.json"))).find("123456"), std::string_view::npos);
  // Nor is there a quick way to find it: six digits are tried in a second by a plain hash.
  EXPECT_EQ(read->stretched,
            to_bytes(value_of(stretch_passphrase(secret("123456"), salt, {.memory_kib = 65536, .passes = 3})).view()));
  succeed(forget_pkcs11_refused_pin(env, "/kv"));
  succeed(forget_pkcs11_refused_pin(env, "/kv"));
  EXPECT_FALSE(value_of(read_pkcs11_refused_pin(env, "/kv")).has_value());
}

TEST(Pkcs11WorkerTest, StopsWaitingForAJobThatHangs) {
  using std::chrono::milliseconds;
  using Outcome = Pkcs11Worker::Outcome;
  Pkcs11Worker worker;
  int done = 0;
  EXPECT_EQ(worker.run([&] { ++done; }, std::chrono::minutes(1)), Outcome::done);
  EXPECT_EQ(done, 1);

  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;
    bool passed = false;
  };
  const auto gate = std::make_shared<Gate>();
  const auto wait_at_gate = [gate] {
    std::unique_lock lock(gate->mutex);
    gate->changed.wait(lock, [&] { return gate->open; });
    gate->passed = true;
  };
  EXPECT_EQ(worker.run(wait_at_gate, milliseconds(20)), Outcome::timed_out);
  EXPECT_EQ(worker.run([] { FAIL() << "ran behind a job that hangs"; }, std::chrono::minutes(10)), Outcome::stuck);
  worker.post([gate] {
    const std::lock_guard lock(gate->mutex);
    EXPECT_TRUE(gate->passed);
  });
  {
    const std::lock_guard lock(gate->mutex);
    gate->open = true;
    gate->changed.notify_all();
  }
  Outcome outcome = Outcome::stuck;
  for (int i = 0; i < 1000 && outcome != Outcome::done; ++i) {
    outcome = worker.run([&] { ++done; }, std::chrono::minutes(1));
    if (outcome != Outcome::done) std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(outcome, Outcome::done);
  EXPECT_EQ(done, 2);
}

// A job that got its turn when its caller had nearly given up is slow, not stuck: who comes next waits for it.
TEST(Pkcs11WorkerTest, WaitingForATurnIsNotHanging) {
  using std::chrono::milliseconds;
  using Outcome = Pkcs11Worker::Outcome;
  Pkcs11Worker worker;
  std::mutex mutex;
  std::condition_variable changed;
  bool first_may_end = false, second_runs = false, second_may_end = false;
  const auto wait_for = [&](bool& flag) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return flag; });
  };
  const auto set = [&](bool& flag) {
    const std::lock_guard lock(mutex);
    flag = true;
    changed.notify_all();
  };
  worker.post([&] { wait_for(first_may_end); });
  Outcome second = Outcome::done;
  std::thread caller([&] {
    second = worker.run(
        [&] {
          set(second_runs);
          wait_for(second_may_end);
        },
        std::chrono::seconds(3));
  });
  std::this_thread::sleep_for(milliseconds(1500));
  set(first_may_end);
  wait_for(second_runs);
  caller.join();
  ASSERT_EQ(second, Outcome::timed_out);
  std::thread ends_it([&] {
    std::this_thread::sleep_for(milliseconds(200));
    set(second_may_end);
  });
  EXPECT_EQ(worker.run([] {}, std::chrono::minutes(1)), Outcome::done);
  ends_it.join();
}

}  // namespace
}  // namespace vaultfs
