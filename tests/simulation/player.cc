#include "tests/simulation/player.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "crypto/hash.h"
#include "tests/simulation/seeded_random.h"

namespace vaultfs::sim {
namespace {

constexpr std::int64_t kHealsWithinSeconds = 3600;
constexpr int kOutageExit = 20;
constexpr int kRevokedExit = 21;

std::string text_of_error(const Error& error) { return std::string(error_name(error.code)) + ": " + error.message; }

}  // namespace

Player::Stepping::Stepping(SeededStepper::Options options) : stepper(std::move(options)) { set_stepper(&stepper); }
Player::Stepping::~Stepping() { set_stepper(nullptr); }

Player::Player(const History& history)
    : history_(history),
      stepping_({history.seed, history.switches,
                 [this](std::int64_t nanos) { world_.env.sim_clock().advance_nanos(nanos); },
                 [this](const std::string& who) {
                   std::printf("FINDING seed %llu, step %zu: deadlock: %s\n%s",
                               static_cast<unsigned long long>(history_.seed), log_.size(), who.c_str(),
                               history_.text().c_str());
                   std::fflush(stdout);
                 }}),
      world_((seed_random(history.seed), history.seed)) {
  world_.timers = history.timers;
  world_.before_drop = [this] { join_beside(false); };
  const Status made = world_.create();
  if (!made.ok()) throw Finding("honesty", "the vault can't be made: " + text_of_error(made.error()));
}

Player::~Player() {
  join_beside(false);
  world_.drop_session();
}

void Player::play(const Operation& operation) {
  note_.clear();
  make_way_for(operation);
  attempt_all();
  const bool beside = beside_ != nullptr;
  perform(operation);
  attempt_all();
  // What was superseded in an operation that commits, too, may have been superseded before it.
  const bool commits = operation.kind == Kind::commit || operation.kind == Kind::backup;
  if (world_.timers || commits || beside || beside_ != nullptr) owing_.clear();
  if (beside_ != nullptr && beside_->operations_left-- == 0) join_beside(true);
  if (world_.timers) keys_were_away_ = keys_were_away_ || keys_are_away();
  if (!world_.env.failure_reached() && world_.engine != nullptr && beside_ == nullptr) {
    check_points(engine(), false, true);
    model_.forget_attempts();
  }
  if (world_.env.failure_reached()) {
    const Breakage how = breakage_.value_or(Breakage{});
    power_loss(how.mode, how.seed);
  }
  if (!disturbed_ && !world_.env.failure_reached()) world_.numbers.there(world_.env.files(kVaultPath));
  if (const auto repeated = world_.numbers.take_repeated()) throw Finding("identifiers", *repeated);
  log_.push_back(operation.text() + (note_.empty() ? "" : "   # " + note_));
}

void Player::perform(const Operation& operation) {
  switch (operation.kind) {
    case Kind::write:
    case Kind::append:
    case Kind::truncate:
    case Kind::punch:
    case Kind::zero:
      return change_file(operation);
    case Kind::rename:
    case Kind::unlink:
    case Kind::link:
      return change_names(operation);
    case Kind::copy:
      return copy(operation);
    case Kind::read:
      if (ensure_open()) look_at(kItems.at(operation.a), kFiles.at(operation.b));
      return;
    case Kind::fsync:
      return fsync(operation);
    case Kind::sync_all:
      return sync_all();
    case Kind::commit:
      return commit(kItems.at(operation.a));
    case Kind::backup:
      return backup(operation);
    case Kind::restore:
      return restore(operation.a);
    case Kind::checkpoint:
      if (ensure_open()) judge("checkpoint", tree().checkpoint());
      return;
    case Kind::reencrypt:
      return reencrypt(operation.a != 0);
    case Kind::verify:
      return verify();
    case Kind::beside:
      return begin_beside(operation);
    case Kind::close:
      return close();
    case Kind::kill:
      return kill();
    case Kind::power_loss:
      return power_loss(operation.a, operation.b);
    case Kind::reader:
      return reader(operation.a);
    case Kind::second_owner:
      return second_owner();
    case Kind::machine:
      return use_machine(operation.a);
    case Kind::rotate:
    case Kind::refresh:
    case Kind::new_epoch:
    case Kind::rewrap:
    case Kind::disable_retired:
    case Kind::disable_early:
    case Kind::revoke:
    case Kind::allow:
    case Kind::outage:
    case Kind::deny:
    case Kind::late:
      return change_keys(operation);
    case Kind::break_after:
      world_.env.fail_after(operation.a);
      breakage_ = Breakage{operation.b, operation.c};
      return;
    case Kind::fail_sync:
      world_.env.fail_next_sync(operation.a);
      disturbed_ = armed_ = true;
      return;
    case Kind::fail_write:
      world_.env.fail_next_write(operation.a);
      disturbed_ = armed_ = true;
      return;
    case Kind::full_disk:
      world_.env.set_free_bytes(operation.a);
      disturbed_ = full_ = true;
      return;
    case Kind::free_disk:
      world_.env.set_unlimited_space();
      full_ = false;
      return;
    case Kind::clock:
      return pass_time(static_cast<std::int64_t>(operation.a));
    case Kind::clock_back: {
      const UnixNanos now = world_.env.clock().now();
      world_.env.sim_clock().set({now.value - static_cast<std::int64_t>(operation.a) * 1'000'000'000});
      return;
    }
    case Kind::keep_copy:
    case Kind::old_copy:
    case Kind::old_file:
    case Kind::branch:
    case Kind::exchange:
    case Kind::rot:
    case Kind::lose:
    case Kind::cut:
    case Kind::plant:
      return attack(operation);
  }
}

void Player::pass_time(std::int64_t seconds) { stepping_.stepper.advance(std::chrono::seconds(seconds)); }

bool Player::keys_are_away() const {
  return !world_.key_vault->answers() || (!active_.empty() && !world_.key_vault->enabled(active_));
}

bool Player::judge(const std::string& what, const Status& status) {
  if (status.ok()) {
    note(what);
    return true;
  }
  note(what + " " + std::string(error_name(status.code())));
  const int exit_code = error_exit_code(status.code());
  if ((keys_are_away() || keys_were_away_) && (exit_code == kOutageExit || exit_code == kRevokedExit)) return false;
  if (disturbed_ || world_.env.failure_reached()) {
    // A disk that fails or is full is no damage: nobody is to be told that stored bytes are wrong.
    if (!is_integrity_error(status.code())) return false;
  }
  throw Finding("honesty", what + " failed without a reason: " + text_of_error(status.error()));
}

void Player::finish() {
  note_.clear();
  join_beside(true);
  world_.key_vault->answer_again();
  for (const std::string& version : disabled_) world_.key_vault->set_enabled(version, true);
  disabled_.clear();
  world_.env.set_unlimited_space();
  full_ = false;
  if (keys_were_away_) pass_time(kHealsWithinSeconds);
  keys_were_away_ = false;
  // A engine that met a fault ends here; a healthy one is asked for what it has.
  if (world_.engine != nullptr && !disturbed_ && !breakage_) {
    const auto seen = read_tree(tree());
    if (judge("read", seen)) model_.check_now(*seen);
  }
  world_.env.clear_faults();
  armed_ = false;
  breakage_.reset();
  if (disturbed_) kill();
  if (!ensure_open()) throw Finding("honesty", "the vault does not open without a fault");
  check_points(engine(), true);
  verify();
  close();
  if (!ensure_open()) throw Finding("honesty", "the vault does not open without a fault");
  check_points(engine(), true);
  close();
  look_for_leaks();
  log_.push_back("finish   # " + note_);
}

std::map<std::string, std::string> Player::files() const {
  std::map<std::string, std::string> all;
  for (const Env::Path& path : world_.env.files("/")) {
    if (path.extension() == ".lock") continue;  // it has the number of the process
    all[path.string()] = to_hex(sha256(world_.env.read(path)).view()).substr(0, 16);
  }
  return all;
}

}  // namespace vaultfs::sim
