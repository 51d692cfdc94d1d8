#pragma once

// What clang's -Wthread-safety checks while it compiles (preset clang, scripts/check-locks): which lock guards a field,
// which locks a function wants held or not held, in which order they are taken. Other compilers see nothing.
//
//   Mutex mutex_;
//   int count_ GUARDED_BY(mutex_);
//   void count_up() REQUIRES(mutex_);       // the caller holds it
//   void show() EXCLUDES(mutex_);           // the caller does not: it is taken inside
//   Mutex outer_ ACQUIRED_BEFORE(mutex_);
//
// What the analysis does not see: into lambdas (a wait is a while loop around CondVar::wait, not a predicate; a lambda
// that runs under a lock begins with mutex_.assert_held()), and locks that are handed over or lie in a container
// (NO_THREAD_SAFETY_ANALYSIS, with the reason in words beside it).
#if defined(__clang__)
#define VAULTFS_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define VAULTFS_THREAD_ATTRIBUTE(x)
#endif

// On classes.
#define CAPABILITY(name) VAULTFS_THREAD_ATTRIBUTE(capability(name))
#define SCOPED_CAPABILITY VAULTFS_THREAD_ATTRIBUTE(scoped_lockable)

// On fields: the field itself, or what a pointer points to.
#define GUARDED_BY(lock) VAULTFS_THREAD_ATTRIBUTE(guarded_by(lock))
#define PT_GUARDED_BY(lock) VAULTFS_THREAD_ATTRIBUTE(pt_guarded_by(lock))

// On locks.
#define ACQUIRED_BEFORE(...) VAULTFS_THREAD_ATTRIBUTE(acquired_before(__VA_ARGS__))
#define ACQUIRED_AFTER(...) VAULTFS_THREAD_ATTRIBUTE(acquired_after(__VA_ARGS__))

// On functions: what the caller holds, alone or shared with other readers; what it does not hold.
#define REQUIRES(...) VAULTFS_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) VAULTFS_THREAD_ATTRIBUTE(requires_shared_capability(__VA_ARGS__))
#define EXCLUDES(...) VAULTFS_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))

// On functions that take or give up a lock.
#define ACQUIRE(...) VAULTFS_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) VAULTFS_THREAD_ATTRIBUTE(acquire_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) VAULTFS_THREAD_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRE_SHARED(...) VAULTFS_THREAD_ATTRIBUTE(try_acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) VAULTFS_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) VAULTFS_THREAD_ATTRIBUTE(release_shared_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) VAULTFS_THREAD_ATTRIBUTE(release_generic_capability(__VA_ARGS__))
#define ASSERT_CAPABILITY(lock) VAULTFS_THREAD_ATTRIBUTE(assert_capability(lock))
#define ASSERT_SHARED_CAPABILITY(lock) VAULTFS_THREAD_ATTRIBUTE(assert_shared_capability(lock))
#define RETURN_CAPABILITY(lock) VAULTFS_THREAD_ATTRIBUTE(lock_returned(lock))

// The last resort.
#define NO_THREAD_SAFETY_ANALYSIS VAULTFS_THREAD_ATTRIBUTE(no_thread_safety_analysis)
