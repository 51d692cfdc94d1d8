// Google Benchmark of the inner pieces, so that a regression has an address: sealing, opening, hashing, compressing,
// index look-up, segment and journal. Run bench_pieces --benchmark_filter=…; bytes a second are of plaintext, one
// thread unless it says otherwise. Files lie in $TMPDIR.
#include <benchmark/benchmark.h>

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "base/files/env.h"
#include "crypto/aes_gcm.h"
#include "crypto/chunk_id.h"
#include "crypto/hash.h"
#include "crypto/leaf_hash.h"
#include "crypto/memory/locked_pool.h"
#include "store/blobs/blob_store.h"
#include "store/index/chunk_index.h"
#include "store/journal/journal.h"
#include "store/record/checksum.h"
#include "store/record/frame_compression.h"
#include "store/segment/segment_store.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/test_epoch_keys.h"

namespace vaultfs {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20U;

// A failure here is a broken program, not a slow one.
template <class T>
T must(Result<T> result) {
  if (!result.ok()) std::abort();
  return std::move(result).value();
}
void must(const Status& status) {
  if (!status.ok()) std::abort();
}

Bytes noise(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= size; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
  return bytes;
}

SecretBuffer key() { return must(SecretBuffer::random(kAeadKeyBytes)); }

void count_bytes(benchmark::State& state, std::size_t each) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(each));
}

using MakeAead = Result<std::unique_ptr<Aead>> (*)(const SecretBuffer&);

// One nonce for all rounds is no harm here: what is sealed goes nowhere.
void seal(benchmark::State& state, MakeAead make) {
  const auto cipher = must(make(key()));
  const auto size = static_cast<std::size_t>(state.range(0));
  const Bytes plaintext = noise(size, 1), nonce(cipher->nonce_bytes()), aad(64);
  Bytes sealed(size + kAeadTagBytes);
  for (auto _ : state) {
    must(cipher->seal(nonce, aad, plaintext, sealed));
    benchmark::DoNotOptimize(sealed.data());
  }
  count_bytes(state, size);
}

void open(benchmark::State& state, MakeAead make) {
  const auto cipher = must(make(key()));
  const auto size = static_cast<std::size_t>(state.range(0));
  const Bytes nonce(cipher->nonce_bytes()), aad(64);
  Bytes plaintext = noise(size, 1), sealed(size + kAeadTagBytes);
  must(cipher->seal(nonce, aad, plaintext, sealed));
  for (auto _ : state) {
    must(cipher->open(nonce, aad, sealed, plaintext));
    benchmark::DoNotOptimize(plaintext.data());
  }
  count_bytes(state, size);
}

// The one that is used, and the one that every machine has.
BENCHMARK_CAPTURE(seal, aes_256_gcm, &make_aes_256_gcm)->Arg(4096)->Arg(32 << 10)->Arg(256 << 10);
BENCHMARK_CAPTURE(open, aes_256_gcm, &make_aes_256_gcm)->Arg(4096)->Arg(32 << 10)->Arg(256 << 10);
BENCHMARK_CAPTURE(seal, aes_256_gcm_openssl, &make_openssl_aes_256_gcm)->Arg(4096)->Arg(32 << 10)->Arg(256 << 10);
BENCHMARK_CAPTURE(open, aes_256_gcm_openssl, &make_openssl_aes_256_gcm)->Arg(4096)->Arg(32 << 10)->Arg(256 << 10);
BENCHMARK_CAPTURE(seal, xchacha20_poly1305, &make_xchacha20_poly1305)->Arg(32 << 10);

// What each record pays for a key of its own: its salt, and the derivation with the cipher's set-up and one small
// frame.
void draw_salt(benchmark::State& state) {
  Bytes salt(16);
  for (auto _ : state) {
    posix_env().fill_random(salt);
    benchmark::DoNotOptimize(salt.data());
  }
}
BENCHMARK(draw_salt);

void derive_and_seal(benchmark::State& state, Result<std::unique_ptr<Aead>> (*make)(ByteView)) {
  const SecretBuffer container = key();
  const Bytes plaintext = noise(64, 1), nonce(12), aad(64), salt(16);
  Bytes sealed(plaintext.size() + kAeadTagBytes);
  for (auto _ : state) {
    PooledSecret record(kAeadKeyBytes);
    hkdf_expand_sha256(container.view(), {bytes_of("vaultfs/2 record key"), salt}, record.mutable_view());
    must(must(make(record.view()))->seal(nonce, aad, plaintext, sealed));
    benchmark::DoNotOptimize(sealed.data());
  }
}
BENCHMARK_CAPTURE(derive_and_seal, aes_256_gcm, &make_aes_256_gcm);
BENCHMARK_CAPTURE(derive_and_seal, aes_256_gcm_openssl, &make_openssl_aes_256_gcm);

// What a frame of a checked record is compared by, beside the hash of a leaf.
void tag(benchmark::State& state) {
  const auto cipher = must(make_aes_256_gcm(key()));
  const auto size = static_cast<std::size_t>(state.range(0));
  const Bytes frame = noise(size, 1), nonce(cipher->nonce_bytes());
  Bytes out(kAeadTagBytes);
  for (auto _ : state) {
    must(cipher->seal(nonce, frame, {}, out));
    benchmark::DoNotOptimize(out.data());
  }
  count_bytes(state, size);
}
BENCHMARK(tag)->Arg(8 << 10)->Arg(1 << 20);

void hash_chunk(benchmark::State& state) {
  const SecretBuffer id_key = key();
  const auto size = static_cast<std::size_t>(state.range(0));
  const Bytes content = noise(size, 2);
  for (auto _ : state) benchmark::DoNotOptimize(chunk_id(id_key, 1, content));
  count_bytes(state, size);
}
BENCHMARK(hash_chunk)->Arg(4096)->Arg(32 << 10)->Arg(64 << 10)->Arg(1 << 20);

void hash_leaves_with(benchmark::State& state, void (*hash)(ByteView, MutableByteView)) {
  const Bytes content = noise(kMiB, 2);
  Bytes digests(leaf_digests_bytes(content.size()));
  for (auto _ : state) {
    hash(content, digests);
    benchmark::DoNotOptimize(digests.data());
  }
  count_bytes(state, kMiB);
}
BENCHMARK_CAPTURE(hash_leaves_with, as_used, &hash_leaves);
BENCHMARK_CAPTURE(hash_leaves_with, openssl, &openssl_hash_leaves);

void checksum_record(benchmark::State& state) {
  const Bytes content = noise(kMiB, 3);
  for (auto _ : state) benchmark::DoNotOptimize(checksum128(content));
  count_bytes(state, kMiB);
}
BENCHMARK(checksum_record);

// What it costs to find out that a frame does not compress.
void probe_noise(benchmark::State& state) {
  const Bytes frame = noise(256 << 10, 4);
  for (auto _ : state) benchmark::DoNotOptimize(may_compress(frame));
  count_bytes(state, frame.size());
}
BENCHMARK(probe_noise);

void look_up(benchmark::State& state) {
  ChunkIndex index;
  const auto count = static_cast<std::size_t>(state.range(0));
  std::mt19937_64 random(5);
  std::vector<ChunkId> ids(count);
  for (std::size_t n = 0; n < count; ++n) {
    for (std::byte& each : ids[n].mutable_view()) each = static_cast<std::byte>(random());
    index.insert(ids[n],
                 {ContainerNumber(n / 128 + 1), (n % 128) * kMiB, 1U << 20U, 1U << 20U, RecordType::chunk, false});
  }
  std::size_t next = 0;
  for (auto _ : state) {
    next = (next + 7919) % count;
    benchmark::DoNotOptimize(index.find(ids[next]));
  }
  state.counters["bytes_a_chunk"] = static_cast<double>(index.memory_bytes()) / static_cast<double>(count);
}
BENCHMARK(look_up)->Arg(10'000)->Arg(1'000'000);

// A store on real files, gone at the end.
struct Store {
  Store() {
    for (const char* folder : {"segments", "index"}) must(posix_env().make_directory(directory / folder));
    SegmentRecovery recovery;
    store = must(SegmentStore::open(posix_env(), directory.path(), *blobs, *keys, {}, recovery));
  }
  ScratchDirectory directory;
  std::unique_ptr<EpochKeys> keys = make_test_keys();
  std::unique_ptr<BlobStore> blobs = make_directory_blob_store(posix_env(), directory.path());
  std::unique_ptr<SegmentStore> store;
};

// Hash, look up, seal, write: what becomes of a chunk that is new.
void put_new_chunk(benchmark::State& state) {
  Store at;
  Bytes chunk = noise(kMiB, 6);
  std::uint64_t number = 0;
  for (auto _ : state) {
    ++number;
    std::memcpy(chunk.data(), &number, sizeof number);
    benchmark::DoNotOptimize(must(at.store->put(RecordType::chunk, chunk)).stored);
  }
  count_bytes(state, kMiB);
}
BENCHMARK(put_new_chunk)->Iterations(512);

void put_known_chunk(benchmark::State& state) {
  Store at;
  const Bytes chunk = noise(kMiB, 7);
  for (auto _ : state) benchmark::DoNotOptimize(must(at.store->put(RecordType::chunk, chunk)).stored);
  count_bytes(state, kMiB);
}
BENCHMARK(put_known_chunk);

void read_chunk(benchmark::State& state) {
  Store at;
  const auto size = static_cast<std::size_t>(state.range(0));
  const ChunkId id = must(at.store->put(RecordType::chunk, noise(kMiB, 8))).id;
  Bytes out(size);
  for (auto _ : state) must(at.store->read(id, 0, out));
  count_bytes(state, size);
}
BENCHMARK(read_chunk)->Arg(4096)->Arg(1 << 20);

// Entries of the size of a small write; one commit for as many as range(0).
void append_to_journal(benchmark::State& state) {
  const ScratchDirectory directory;
  const auto keys = make_test_keys();
  const JournalStart start{ContainerNumber(1), Lsn(), ContainerNumber(), {}};
  const auto journal =
      must(Journal::create(posix_env(), directory.path(), *keys, start, [] { return ok_status(); }, {}));
  const Bytes entry = noise(4096 + 64, 9);
  for (auto _ : state) {
    for (std::int64_t n = 0; n < state.range(0); ++n) must(journal->append(EntryOwner::tree, entry));
    must(journal->commit());
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * state.range(0));
}
BENCHMARK(append_to_journal)->Arg(1)->Arg(64);

}  // namespace
}  // namespace vaultfs

BENCHMARK_MAIN();
