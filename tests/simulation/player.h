#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/thread/thread.h"
#include "tests/simulation/history.h"
#include "tests/simulation/model.h"
#include "tests/simulation/operation.h"
#include "tests/simulation/record_registry.h"
#include "tests/simulation/seeded_stepper.h"
#include "tests/simulation/world.h"
#include "tests/support/scratch_directory.h"

namespace vaultfs::sim {

// Carries out the operations of a history, one after the other, on the world and on the model, and compares. A promise
// that does not hold is thrown as a Finding.
class Player {
 public:
  // A kept copy of everything on the disk, by who will use it against the vault.
  struct Copy {
    World::Files vault;
    World::Files homes;
    std::uint64_t heads = 0;  // highest head
  };

  explicit Player(const History& history);
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;
  ~Player();

  void play(const Operation& operation);
  // Ends all faults, opens the vault once more and looks at everything.
  void finish();
  // All that is on the disk, with digests.
  [[nodiscard]] std::map<std::string, std::string> files() const;
  // The owner is killed, and nobody opens the vault again.
  void die() { kill(); }
  // All that is on the disk now.
  [[nodiscard]] Copy take_copy() const;
  // What a reader and an owner make of that copy with `vault` in the place of its files: what they show is what the
  // model has (what was not durable may be missing), or an error that tells of it. Leaves the disk as the copy has it,
  // without a engine.
  void examine_copy(const std::string& what, const Copy& copy, const World::Files& vault);
  // What became of each operation, for who reads a finding.
  [[nodiscard]] const std::vector<std::string>& log() const { return log_; }

 private:
  struct Breakage {
    std::uint64_t mode = 0;
    std::uint64_t seed = 0;
  };

  // Sets the stepper for as long as it lives.
  struct Stepping {
    explicit Stepping(SeededStepper::Options options);
    Stepping(const Stepping&) = delete;
    Stepping& operator=(const Stepping&) = delete;
    ~Stepping();
    SeededStepper stepper;
  };
  // Work that is done in another thread while the next operations are.
  struct Beside {
    Thread thread;
    std::string what;
    std::uint64_t operations_left = 0;
    Status status;
  };

  // --- player.cc
  void perform(const Operation& operation);
  void note(const std::string& what) { note_ += (note_.empty() ? "" : "; ") + what; }
  // Success, or an error that the faults of now explain. True for success.
  bool judge(const std::string& what, const Status& status);
  template <typename T>
  bool judge(const std::string& what, const Result<T>& result) {
    return judge(what, result.ok() ? ok_status() : Status(result.error()));
  }
  [[nodiscard]] bool keys_are_away() const;
  [[nodiscard]] VaultEngine& engine() { return *world_.engine; }
  [[nodiscard]] WorkingTree& tree() { return world_.engine->tree(); }

  void pass_time(std::int64_t seconds);

  // --- player_beside.cc
  void begin_beside(const Operation& operation);
  // Waits for what is done beside, unless this operation may be done at the same time.
  void make_way_for(const Operation& operation);
  // Waits for it. `judged`: an error must have a reason; nobody asks that of a engine that is dead.
  void join_beside(bool judged);

  // --- player_engine.cc
  // True if there is a engine now.
  bool ensure_open();
  void check_opened();
  void close();
  void kill();
  void power_loss(std::uint64_t mode, std::uint64_t seed);
  void after_session();
  void reader(std::size_t machine);
  void second_owner();
  void use_machine(std::size_t number);
  bool trust(std::size_t number);

  // --- player_files.cc
  void change_file(const Operation& operation);
  void change_names(const Operation& operation);
  void copy(const Operation& operation);
  void fsync(const Operation& operation);
  void sync_all();
  [[nodiscard]] std::optional<InodeNumber> inode(const std::string& item, const std::string& file);
  // Makes item and file, if they are not there.
  [[nodiscard]] std::optional<InodeNumber> make(const std::string& item, const std::string& file);
  // A change of names that ended with `status`.
  void names_changed(const std::string& what, Names after, const Status& status);
  // Reads the file and compares.
  void look_at(const std::string& item, const std::string& file);
  // Reads what failed operations left uncertain. False if some of it can't be read.
  bool resolve();

  // --- player_points.cc
  void commit(const std::string& item);
  void backup(const Operation& operation);
  void restore(std::uint64_t which);
  void reencrypt(bool without_grace);
  void verify();
  // After a job ended well.
  void completed(const std::string& item, const CommitOutcome& outcome);
  // New points are of attempts, and none is missing. `all`: reads every one of them.
  // `new_ones_only` looks at no other.
  void check_points(VaultEngine& from, bool all, bool new_ones_only = false);
  [[nodiscard]] Result<ItemContent> read_point(VaultEngine& from, const PointInfo& point);
  void attempt_all();

  // Nothing that is on any disk shows a name, or what is in a file.
  void look_for_leaks() const;

  // --- player_keys.cc
  void change_keys(const Operation& operation);
  // What the vault says of its versions, and what it may say.
  void look_at_keys();

  // --- player_attacks.cc
  void attack(const Operation& operation);
  [[nodiscard]] bool spoil(const Operation& operation);
  [[nodiscard]] bool go_on_elsewhere(const Copy& copy, std::uint64_t seed);
  // What the owner's machine makes of the vault as it lies there now.
  void examine(const std::string& what, bool whole_older_copy);
  void examine_session(const std::string& what, VaultEngine& from);
  void put_back(const Copy& copy);

  [[nodiscard]] static Result<Model::Seen> read_tree(FileTree& tree);

  const History& history_;
  Stepping stepping_;
  World world_;
  Model model_;
  RecordRegistry records_;
  std::optional<Breakage> breakage_;  // what becomes of the disk when the armed failure is reached
  bool disturbed_ = false;            // the engine has met, or may meet, a fault of the disk
  bool full_ = false;
  bool armed_ = false;                 // failures of syncs or writes that may still come
  bool keys_were_away_ = false;        // with timers: the engine may be sealed until it has noticed that they are back
  std::set<std::string> changed_;      // items, since the engine was opened
  std::set<std::string> owed_points_;  // items that were changed in a engine that met no fault and ended well
  std::unique_ptr<Beside> beside_;
  std::string note_;
  std::vector<std::string> log_;

  // Keys.
  std::string active_;                        // as the vault said last
  std::map<std::string, VersionRole> roles_;  // the same
  std::set<std::string> disabled_;            // early or revoked, to be allowed again
  std::set<std::string> owing_;               // superseded, and no commit was tried since
  std::set<std::string> dropped_;             // may have been retired without a backup, as was asked for
  VaultFingerprint fingerprint_;
  std::vector<Copy> copies_;
  std::unique_ptr<ScratchDirectory> scratch_;  // for restores
};

}  // namespace vaultfs::sim
