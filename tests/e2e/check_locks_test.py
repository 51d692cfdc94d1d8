"""scripts/check-locks finds each kind of lock, wait and thread that goes past base/thread/mutex.h and base/thread/thread.h, and its
analysis each kind of breach of an annotation; both let everything else pass."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHECK = ROOT / "scripts" / "check-locks"
# file, a line of it, whether it must be refused
LINES = [
    ("store/a.cc", "std::mutex mutex;", True),
    ("store/a.cc", "std::shared_mutex mutex;", True),
    ("store/a.cc", "std::recursive_mutex mutex;", True),
    ("store/a.cc", "const std::lock_guard lock(mutex_);", True),
    ("store/a.cc", "std::unique_lock<Mutex> lock(mutex_);", True),
    ("store/a.cc", "const std::scoped_lock lock(a, b);", True),
    ("store/a.cc", "const std::shared_lock lock(mutex_);", True),
    ("fs/a.h", "std::condition_variable changed_;", True),
    ("fs/mount/a.h", "#include <mutex>", True),
    ("fs/a.cc", "std::thread thread([] {});", True),
    ("fs/a.cc", "std::vector<std::jthread> threads;", True),
    ("fs/a.cc", "std::this_thread::sleep_for(1s);", True),
    ("tools/vaultctl/a.cc", "usleep(10);", True),
    ("tools/a.cc", "::nanosleep(&pause, nullptr);", True),
    ("crypto/keyvault/a.cc", "std::call_once(once, [] {});", True),
    ("crypto/a.cc", "std::promise<int> answer;", True),
    ("crypto/a.cc", "std::latch all(3);", True),
    ("vaultmeta/a.cc", "pthread_mutex_lock(&lock);", True),
    ("vaultmeta/a.cc", "pthread_rwlock_t lock{};\npthread_rwlock_init(&lock, nullptr);", True),
    ("base/a.cc", "std::atomic<int> count{0};\nvoid f() { count.wait(0); }", True),
    ("base/a.cc", "std::atomic<std::uint64_t>& count = all[0];\nvoid f() { count.notify_all(); }", True),
    ("base/a.cc", "const auto now = std::chrono::steady_clock::now();", True),
    ("base/thread/mutex.h", "std::mutex mutex_;", False),
    ("base/thread/thread.cc", "std::this_thread::sleep_for(length);", False),
    ("tests/store/a.cc", "std::mutex mutex;", False),
    ("store/a.cc", "const MutexLock lock(mutex_);", False),
    ("store/a.cc", "// As std::mutex.", False),
    ("store/a.cc", 'throw "std::mutex";', False),
    ("store/a.cc", "CondVar changed_;\nvoid f() { changed_.notify_all(); }", False),
    ("store/a.cc", "socket.wait(POLLIN, deadline);", False),
    ("fs/a.cc", "sleep_for(kPause);", False),
    ("fs/a.cc", "std::atomic<std::thread::id> who{};", False),
    ("fs/a.cc", "count.fetch_add(1);", False),
]

CLASS = """#include "base/thread/mutex.h"
namespace vaultfs {
class Counter {
 public:
  void add() { METHOD }
  void count() REQUIRES(mutex_) { ++count_; }
  void call() EXCLUDES(mutex_) {}
 private:
  Mutex first_ ACQUIRED_BEFORE(mutex_);
  Mutex mutex_;
  SharedMutex shared_;
  int count_ GUARDED_BY(mutex_) = 0;
  int other_ GUARDED_BY(shared_) = 0;
};
void use(Counter& counter) { counter.add(); }
}  // namespace vaultfs
"""
# what a method does, and whether the analysis must refuse it
METHODS = [
    ("const MutexLock lock(mutex_); count();", False),
    ("++count_;", True),
    ("count();", True),
    ("const MutexLock lock(mutex_); call();", True),
    ("const MutexLock lock(first_); const MutexLock second(mutex_);", False),
    ("const MutexLock lock(mutex_); const MutexLock second(first_);", True),
    ("MutexLock lock(mutex_); lock.unlock(); ++count_;", True),
    ("MutexLock lock(mutex_); lock.unlock(); lock.lock(); ++count_;", False),
    ("mutex_.lock();", True),
    ("if (mutex_.try_lock()) { const MutexLock lock(mutex_, kAdoptLock); ++count_; }", False),
    ("const auto change = [this] { ++count_; }; const MutexLock lock(mutex_); change();", True),
    ("const auto change = [this] { mutex_.assert_held(); ++count_; }; const MutexLock lock(mutex_); change();", False),
    ("const WriterLock lock(shared_); ++other_;", False),
    ("const ReaderLock lock(shared_); ++other_;", True),
    ("const ReaderLock lock(shared_); static_cast<void>(other_ > 0);", False),
    ("static_cast<void>(other_ > 0);", True),
    ("CondVar changed; const MutexLock lock(mutex_); while (count_ == 0) changed.wait(mutex_);", False),
    ("CondVar changed; changed.wait(mutex_);", True),
]


def run(*words):
    return subprocess.run([sys.executable, CHECK, *words], capture_output=True, text=True)


wrong = []


def expect(what, result, refused):
    if (result.returncode != 0) != refused:
        wrong.append(f"{what}: exit code {result.returncode}: {result.stdout}{result.stderr}")


for name, line, refused in LINES:
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / name
        file.parent.mkdir(parents=True)
        file.write_text(line + "\n")
        other = pathlib.Path(directory) / "base" / "nothing.h"
        other.parent.mkdir(exist_ok=True)
        other.write_text("#pragma once\n")
        result = run(directory)
        expect(f"{name} with {line!r}", result, refused)
        if refused and f"{name}:{line.count(chr(10)) + 1}:" not in result.stdout:
            wrong.append(f"{name} with {line!r} is not told: {result.stdout}")
with tempfile.TemporaryDirectory() as directory:
    expect("an empty directory", run(directory), True)

if shutil.which("clang++-14"):
    with tempfile.TemporaryDirectory() as directory:
        build = pathlib.Path(directory).resolve()
        source = build / "store" / "counter.cc"
        source.parent.mkdir()
        command = f"c++ -I{ROOT} -std=c++20 -O1 -c {source}"
        (build / "compile_commands.json").write_text(
            json.dumps([{"directory": str(build), "command": command, "file": str(source)}]))
        for method, refused in METHODS:
            source.write_text(CLASS.replace("METHOD", method))
            for attempt in ("first", "second"):  # the second time from what is remembered
                expect(f"the {attempt} analysis of {method!r}", run("--analyse", str(build)), refused)
else:
    print("no clang++-14: the analysis is not tested")
if wrong:
    sys.exit("\n".join(wrong))
