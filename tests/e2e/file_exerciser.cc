// file_exerciser SUBJECT MODEL SEED OPERATIONS [no-mmap]
//
// Does the same random operations to two files, one in the file system under test and one in a file system that is
// trusted, and compares every result: return values, errno, what reads give, size, data and holes read as zeros. At the
// first difference it prints the operations that led there and ends with 1; a sequence is repeatable from its seed.
// Both files are kept, so that the caller can remount and go on with another seed.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr std::int64_t kMaxBytes = 5 << 20;
constexpr std::int64_t kChunk = 1 << 20;
constexpr std::size_t kHistory = 60;

struct Pair {
  int subject = -1;
  int model = -1;
};

class Exerciser {
 public:
  Exerciser(std::string subject, std::string model, std::uint64_t seed, bool mappings)
      : subject_(std::move(subject)), model_(std::move(model)), dice_(seed), mappings_(mappings) {
    reopen();
  }

  void run(std::uint64_t operations) {
    for (count_ = 0; count_ < operations; ++count_) {
      step();
      if (count_ % 512 == 0) compare_all();
    }
    compare_all();
    close_all();
    reopen();
    compare_all();
    close_all();
  }

 private:
  std::uint64_t roll(std::uint64_t below) { return dice_() % below; }

  // Places near page and chunk edges are where bugs live.
  std::int64_t place() {
    switch (roll(4)) {
      case 0:
        return static_cast<std::int64_t>(roll(kMaxBytes));
      case 1:
        return static_cast<std::int64_t>(roll(kMaxBytes / 4096)) * 4096;
      case 2:
        return std::max<std::int64_t>(0, static_cast<std::int64_t>(roll(kMaxBytes / kChunk + 1)) * kChunk +
                                             static_cast<std::int64_t>(roll(9)) - 4);
      default:
        return std::min(kMaxBytes, size_of(files_.model)) * static_cast<std::int64_t>(roll(5)) / 4;
    }
  }
  std::int64_t length() {
    static constexpr std::array<std::int64_t, 5> kScales{16, 4096, 65536, kChunk, 2 * kChunk + 4096};
    const std::int64_t scale = kScales[roll(kScales.size())];
    return roll(3) == 0 ? scale : 1 + static_cast<std::int64_t>(roll(static_cast<std::uint64_t>(scale)));
  }

  void note(std::string text) {
    history_.push_back("  " + std::to_string(count_) + ": " + std::move(text));
    if (history_.size() > kHistory) history_.pop_front();
  }
  [[noreturn]] void differ(const std::string& what) {
    for (const std::string& line : history_) std::fprintf(stderr, "%s\n", line.c_str());
    std::fprintf(stderr, "%s and %s differ: %s\n", subject_.c_str(), model_.c_str(), what.c_str());
    std::exit(1);
  }

  // The same call on both; the outcome of both must be the same.
  template <typename Call>
  std::int64_t both(const char* name, Call&& call) {
    errno = 0;
    const std::int64_t got = call(files_.subject);
    const int got_errno = errno;
    errno = 0;
    const std::int64_t want = call(files_.model);
    const int want_errno = errno;
    if (got != want || (got < 0 && got_errno != want_errno)) {
      differ(std::string(name) + ": " + std::to_string(got) + " (" + std::strerror(got_errno) + ") instead of " +
             std::to_string(want) + " (" + std::strerror(want_errno) + ")");
    }
    return got;
  }

  static std::int64_t size_of(int fd) {
    struct stat found {};
    if (::fstat(fd, &found) != 0) std::abort();
    return found.st_size;
  }

  void reopen() {
    files_.subject = ::open(subject_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    files_.model = ::open(model_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    appending_.subject = ::open(subject_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    appending_.model = ::open(model_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (files_.subject < 0 || files_.model < 0 || appending_.subject < 0 || appending_.model < 0) {
      std::fprintf(stderr, "cannot open %s or %s: %s\n", subject_.c_str(), model_.c_str(), std::strerror(errno));
      std::exit(2);
    }
  }
  void close_all() {
    for (const int fd : {files_.subject, files_.model, appending_.subject, appending_.model}) {
      if (::close(fd) != 0) differ(std::string("close: ") + std::strerror(errno));
    }
  }

  void read_and_compare(std::int64_t offset, std::int64_t bytes) {
    std::vector<char> got(static_cast<std::size_t>(bytes), 'g');
    std::vector<char> want(static_cast<std::size_t>(bytes), 'w');
    const ssize_t had = ::pread(files_.subject, got.data(), got.size(), offset);
    const ssize_t has = ::pread(files_.model, want.data(), want.size(), offset);
    if (had != has) differ("read " + std::to_string(had) + " instead of " + std::to_string(has));
    if (had <= 0) return;
    const auto where = std::mismatch(got.begin(), got.begin() + had, want.begin());
    if (where.first == got.begin() + had) return;
    differ("byte " + std::to_string(offset + (where.first - got.begin())) + " of a read from " +
           std::to_string(offset));
  }

  void compare_all() {
    if (size_of(files_.subject) != size_of(files_.model)) {
      differ("size " + std::to_string(size_of(files_.subject)) + " instead of " +
             std::to_string(size_of(files_.model)));
    }
    for (std::int64_t at = 0; at < size_of(files_.model); at += kChunk) read_and_compare(at, kChunk);
    check_holes();
  }

  // What SEEK_DATA and SEEK_HOLE call a hole must read as zeros, and the two must make sense together.
  void check_holes() {
    const std::int64_t size = size_of(files_.subject);
    std::int64_t at = 0;
    std::int64_t stuck_at = -1;  // the last hole that began where data was
    while (at < size) {
      std::int64_t data = ::lseek(files_.subject, at, SEEK_DATA);
      if (data < 0 && errno != ENXIO) differ(std::string("SEEK_DATA: ") + std::strerror(errno));
      if (data < 0) data = size;
      if (data < at) differ("SEEK_DATA went back");
      std::vector<char> zeros(static_cast<std::size_t>(data - at));
      if (!zeros.empty() && ::pread(files_.model, zeros.data(), zeros.size(), at) != data - at) differ("a short model");
      if (std::any_of(zeros.begin(), zeros.end(), [](char c) { return c != 0; })) {
        differ("data in what is said to be a hole from " + std::to_string(at) + " to " + std::to_string(data));
      }
      if (data >= size) return;
      const std::int64_t hole = ::lseek(files_.subject, data, SEEK_HOLE);
      // Between the two calls, zeros that were data as long as they waited may have been stored: as a hole. What is
      // said to be one is compared next.
      const bool moved = hole > data || (hole == data && data > stuck_at);
      if (!moved) differ("SEEK_HOLE " + std::to_string(hole) + " in data at " + std::to_string(data));
      if (hole == data) stuck_at = data;
      at = hole;
    }
  }

  std::vector<char> content(std::int64_t bytes) {
    std::vector<char> made(static_cast<std::size_t>(bytes));
    if (roll(8) == 0) return made;  // zeros
    const std::uint64_t base = dice_();
    for (std::size_t i = 0; i < made.size(); i += 8) {
      const std::uint64_t word = base + i * 0x9e3779b97f4a7c15ULL;
      std::memcpy(made.data() + i, &word, std::min<std::size_t>(8, made.size() - i));
    }
    return made;
  }

  void write() {
    const std::int64_t offset = place();
    const std::vector<char> bytes = content(std::min(length(), kMaxBytes + kChunk - offset));
    note("write " + std::to_string(offset) + " + " + std::to_string(bytes.size()));
    both("pwrite", [&](int fd) { return ::pwrite(fd, bytes.data(), bytes.size(), offset); });
  }
  void append() {
    if (size_of(files_.model) > kMaxBytes) return;
    const std::vector<char> bytes = content(std::min<std::int64_t>(length(), 70'000));
    note("append " + std::to_string(bytes.size()));
    if (::write(appending_.subject, bytes.data(), bytes.size()) !=
        ::write(appending_.model, bytes.data(), bytes.size())) {
      differ("append");
    }
  }
  void truncate() {
    const std::int64_t size = place();
    note("truncate " + std::to_string(size));
    both("ftruncate", [&](int fd) { return ::ftruncate(fd, size); });
  }
  void allocate() {
    static constexpr std::array<int, 5> kModes{0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                               FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    const int mode = kModes[roll(kModes.size())];
    const std::int64_t offset = place();
    const std::int64_t bytes = std::min(length(), kMaxBytes + kChunk - offset);
    note("fallocate mode " + std::to_string(mode) + " " + std::to_string(offset) + " + " + std::to_string(bytes));
    both("fallocate", [&](int fd) { return ::fallocate(fd, mode, offset, bytes); });
  }
  void copy() {
    std::int64_t from = place();
    std::int64_t to = place();
    if (roll(2) == 0) {
      from -= from % kChunk;
      to -= to % kChunk;
    }
    const std::int64_t bytes = std::min(length(), kMaxBytes + kChunk - to);
    if (std::abs(from - to) < bytes) return;  // overlapping: EINVAL in both, tested elsewhere
    note("copy " + std::to_string(from) + " to " + std::to_string(to) + " + " + std::to_string(bytes));
    // How much one call copies is the file system's choice: compare what all calls together do.
    const auto copy_all = [&](int fd) {
      std::int64_t done = 0;
      while (done < bytes) {
        off64_t source = from + done;
        off64_t target = to + done;
        const ssize_t copied = ::copy_file_range(fd, &source, fd, &target, static_cast<std::size_t>(bytes - done), 0);
        if (copied < 0) return static_cast<std::int64_t>(-1);
        if (copied == 0) break;
        done += copied;
      }
      return done;
    };
    both("copy_file_range", copy_all);
  }
  void through_mapping(bool writing) {
    const std::int64_t size = size_of(files_.model);
    if (size == 0) return;
    const std::int64_t offset = place() / 4096 * 4096;
    if (offset >= size) return;
    const std::int64_t bytes = std::min(std::min<std::int64_t>(length(), 300'000), size - offset);
    note(std::string(writing ? "write" : "read") + " through a mapping " + std::to_string(offset) + " + " +
         std::to_string(bytes));
    const std::vector<char> made = content(bytes);
    std::vector<char> seen[2];
    int which = 0;
    both("mmap", [&](int fd) -> std::int64_t {
      std::vector<char>& out = seen[which++];
      void* const map = ::mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | (writing ? PROT_WRITE : 0),
                               MAP_SHARED, fd, offset);
      if (map == MAP_FAILED) return -1;
      out.assign(static_cast<char*>(map), static_cast<char*>(map) + bytes);
      if (writing) std::memcpy(map, made.data(), made.size());
      const int synced = writing ? ::msync(map, static_cast<std::size_t>(bytes), MS_SYNC) : 0;
      ::munmap(map, static_cast<std::size_t>(bytes));
      return synced;
    });
    if (seen[0] != seen[1]) differ("a mapping shows other bytes");
  }
  void sync() {
    note("fsync");
    both("fsync", [&](int fd) { return roll_sync_ ? ::fsync(fd) : ::fdatasync(fd); });
    roll_sync_ = !roll_sync_;
  }

  void step() {
    const std::uint64_t choice = roll(100);
    if (choice < 32) return write();
    if (choice < 36) return append();
    if (choice < 58) {
      const std::int64_t offset = place();
      const std::int64_t bytes = length();
      note("read " + std::to_string(offset) + " + " + std::to_string(bytes));
      return read_and_compare(offset, bytes);
    }
    if (choice < 64) return truncate();
    if (choice < 74) return allocate();
    if (choice < 80) return copy();
    if (choice < 90) {
      if (mappings_) through_mapping(roll(2) == 0);
      return;
    }
    if (choice < 93) return sync();
    if (choice < 95) {
      note("close and open");
      close_all();
      return reopen();
    }
    if (choice < 97) return check_holes();
  }

  const std::string subject_;
  const std::string model_;
  std::mt19937_64 dice_;
  const bool mappings_;
  bool roll_sync_ = false;
  Pair files_;
  Pair appending_;
  std::uint64_t count_ = 0;
  std::deque<std::string> history_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: file_exerciser SUBJECT MODEL SEED OPERATIONS [no-mmap]\n");
    return 2;
  }
  const bool mappings = argc < 6 || std::string(argv[5]) != "no-mmap";
  Exerciser(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10), mappings).run(std::strtoull(argv[4], nullptr, 10));
  return 0;
}
