#!/bin/bash
# A sanitizer's report out of a detached daemon fails the test that started it: each kind that this build looks for, and
# none where nothing is wrong. Arguments: the probe program, what the build was made with (as for -fsanitize=).
source "$(dirname "$0")/lib.sh"
readonly probe=$1 sanitizers=$2

# A test of its own, which would pass but for the report.
inner_test() { # FAULT
  bash -c 'source "$1" && "$2" "$3"' - "$source_dir/tests/e2e/lib.sh" "$probe" "$1" >"$scratch/out" 2>"$scratch/err"
}
expect_report() { # FAULT TEXT
  say "$1"
  local got=0
  inner_test "$1" || got=$?
  assert_eq "$got" 99 "the exit code of a test whose daemon made a report ($1)"
  grep -Fq -- "$2" "$scratch/err" || fail "the report on $1 is not shown: $(cat "$scratch/err")"
}

say nothing
inner_test nothing || fail "a test without any report failed: $(cat "$scratch/err")"
assert_eq "$(cat "$scratch/err")" "" "what a test without any report says"
for sanitizer in ${sanitizers//,/ }; do
  case $sanitizer in
    address)
      expect_report address "heap-buffer-overflow"
      expect_report leak "detected memory leaks"
      ;;
    undefined) expect_report undefined "__ubsan_handle_add_overflow" ;;
    thread) expect_report race "data race" ;;
    *) fail "no fault is known for -fsanitize=$sanitizer" ;;
  esac
done
