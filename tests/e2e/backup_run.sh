# `backup run`: mounted and not, sparse disks, a second day that costs what changed, several disks, sources that it refuses.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
run() { ctl --json backup run "$vault" "$@"; }

say "not mounted; holes are skipped"
truncate -s 400M "$scratch/disk"
head -c 24M /dev/urandom | dd of="$scratch/disk" bs=1M seek=100 conv=notrunc status=none
head -c 555 /dev/urandom >>"$scratch/disk"
run web --disk "disk0.img=$scratch/disk" >"$scratch/day1"
assert_eq "$(jq .recovery_point.logical_bytes "$scratch/day1")" "$(stat -c %s "$scratch/disk")"
assert_eq "$(jq -r .recovery_point.auto "$scratch/day1")" false
[[ $(jq .hole_bytes "$scratch/day1") -gt 350000000 ]] || fail "holes were read: $(cat "$scratch/day1")"
[[ $(jq .stored_bytes "$scratch/day1") -lt 27000000 ]] || fail "25 MB took $(jq .stored_bytes "$scratch/day1")"
ctl restore "$vault" web --to "$scratch/back1" >/dev/null
assert_same "$scratch/disk" "$scratch/back1"
[[ $(allocated "$scratch/back1") -lt 30000000 ]] || fail "the restored disk is not sparse"

say "the second day costs what changed"
cp --sparse=always "$scratch/disk" "$scratch/yesterday"
dd if=/dev/urandom of="$scratch/disk" bs=1M seek=105 count=2 conv=notrunc status=none
run web --disk "disk0.img=$scratch/disk" >"$scratch/day2"
assert_eq "$(jq .new_chunks "$scratch/day2")" 2
[[ $(jq .known_chunks "$scratch/day2") -ge 22 ]] || fail "known chunks were not known: $(cat "$scratch/day2")"
[[ $(jq .stored_bytes "$scratch/day2") -lt 2200000 ]] || fail "two chunks took $(jq .stored_bytes "$scratch/day2")"

say "nothing changed: no new point"
run web --disk "disk0.img=$scratch/disk" >"$scratch/day3"
assert_eq "$(jq -r '.recovery_point | type' "$scratch/day3")" null
assert_eq "$(jq -r .job.state "$scratch/day3")" CompletedNoChange
assert_eq "$(point_count web)" 2

say "compressible data takes less than its size, known data of another item nothing"
python3 -c 'print("a line of a log file that repeats itself\n" * 500000)' >"$scratch/text"
run logs --disk "log.img=$scratch/text" >"$scratch/out1"
[[ $(jq .stored_bytes "$scratch/out1") -lt 2000000 ]] || fail "text is not compressed: $(cat "$scratch/out1")"
run copy --disk "a=$scratch/text" --disk "b=$scratch/disk" >"$scratch/out2"
assert_eq "$(jq .new_chunks "$scratch/out2")" 0

say "disks not named stay; a smaller disk replaces a larger one"
head -c 3M /dev/urandom >"$scratch/tiny"
run copy --disk "a=$scratch/tiny" >/dev/null
ctl restore "$vault" copy --disk a --to "$scratch/a" >/dev/null
ctl restore "$vault" copy --disk b --to "$scratch/b" >/dev/null
assert_same "$scratch/tiny" "$scratch/a"
assert_same "$scratch/disk" "$scratch/b"

say "mounted: the owner does it; the disk appears in the mount; a writer to the same name keeps it away"
mount_vault commit=manual
dd if=/dev/urandom of="$scratch/disk" bs=1M seek=110 count=1 conv=notrunc status=none
run web --disk "disk0.img=$scratch/disk" >"$scratch/day4"
assert_eq "$(jq .new_chunks "$scratch/day4")" 1
assert_same "$scratch/disk" "$mnt/web/disk0.img"
exec 5>>"$mnt/web/disk0.img"
expect_error ItemBusy 6 "$vaultctl" backup run "$vault" web --disk "disk0.img=$scratch/disk"
exec 5>&-
wait_until 10 run web --disk "disk0.img=$scratch/disk"

say "names and attributes that the kernel keeps are forgotten when a backup run changes them"
stat "$mnt/web/disk0.img" >/dev/null
stat "$mnt/web" >/dev/null
exec 5<"$mnt/web/disk0.img"
cp --sparse=always "$scratch/disk" "$scratch/grown"
truncate -s +3M "$scratch/grown"
run web --disk "disk0.img=$scratch/grown" --disk "disk1.img=$scratch/text" >/dev/null
assert_eq "$(stat -c %s "$mnt/web/disk0.img")" "$(stat -c %s "$scratch/grown")"
assert_same "$scratch/text" "$mnt/web/disk1.img"
[[ $(stat -c %i "$mnt/web/disk0.img") != $(stat -L -c %i /dev/fd/5) ]] || fail "the replaced disk is still shown"
exec 5<&-
run web --disk "disk0.img=$scratch/disk" >/dev/null
rm "$mnt/web/disk1.img"

say "yesterday's point is what yesterday's disk was"
first=$(jctl '.recovery_points[0].id' recovery-point list "$vault" web)
ctl restore "$vault" "web@$first" --to "$scratch/back2" >/dev/null
assert_same "$scratch/yesterday" "$scratch/back2"

say "sources that are refused"
expect_error OverlapsVault 2 "$vaultctl" backup run "$vault" web --disk "x=$mnt/web/disk0.img"
expect_error NotFound 3 "$vaultctl" backup run "$vault" web --disk "x=$scratch/missing"
expect_error IsADirectory 2 "$vaultctl" backup run "$vault" web --disk "x=$scratch"
expect_error Usage 2 "$vaultctl" backup run "$vault" web --disk "$scratch/disk"
expect_error Usage 2 "$vaultctl" backup run "$vault" web --disk "=$scratch/disk"
expect_error Usage 2 "$vaultctl" backup run "$vault" web
expect_error InvalidArgument 2 "$vaultctl" backup run "$vault" web --disk "x=$scratch/tiny" --disk "x=$scratch/text"
expect_error InvalidName 2 "$vaultctl" backup run "$vault" web --disk "a/b=$scratch/tiny"
mkfifo "$scratch/fifo"
expect_error InvalidArgument 2 timeout "$(patience 20)" "$vaultctl" backup run "$vault" web --disk "x=$scratch/fifo"
unmount_vault
points_before=$(point_count)
expect_error OverlapsVault 2 "$vaultctl" backup run "$vault" web --disk "x=$vault/vault.header"
assert_eq "$(point_count)" "$points_before" "points after refusals"

if [[ $EUID == 0 && -c /dev/loop-control ]] && losetup -f >/dev/null 2>&1; then
  say "a block device as the source"
  truncate -s 8M "$scratch/tiny"
  loop=$(losetup --read-only --find --show "$scratch/tiny")
  run device --disk "vda=$loop" >/dev/null
  losetup -d "$loop"
  ctl restore "$vault" device --to "$scratch/vda" >/dev/null
  assert_same "$scratch/tiny" "$scratch/vda"
fi

say "--compression fast: the same content in more space, readable beside the other; a mount compresses as it was told"
assert_frames() { # VAULT SIZES: of all chunks in it
  assert_eq "$(python3 "$source_dir/tests/e2e/chunk_frames.py" "$1")" "$2" "frames in $1"
}
seq 1 2000000 >"$scratch/numbers" # some 15 MB that compress
"$vaultctl" vault create "$scratch/small" --key office/backup 2>/dev/null >/dev/null
"$vaultctl" vault create "$scratch/quick" --key office/backup 2>/dev/null >/dev/null
small=$(jctl .stored_bytes backup run "$scratch/small" vm --disk "d=$scratch/numbers")
quick=$(jctl .stored_bytes backup run "$scratch/quick" vm --disk "d=$scratch/numbers" --compression fast)
[[ $quick -gt $small && $quick -lt 15000000 ]] || fail "fast takes $quick bytes, the default $small"
# What is stored without a mount is restored as a whole: one frame a chunk.
assert_frames "$scratch/small" 1048576
assert_frames "$scratch/quick" 1048576
ctl restore "$scratch/quick" vm --to "$scratch/numbers.back" >/dev/null
assert_same "$scratch/numbers" "$scratch/numbers.back"
assert_eq "$(jctl .new_chunks backup run "$scratch/quick" again --disk "d=$scratch/numbers")" 0 "known content was stored anew"
expect_error Usage 2 "$vaultctl" backup run "$scratch/quick" vm --disk "d=$scratch/numbers" --compression best
mkdir "$scratch/quick.mnt"
"$vaultfs" "$scratch/quick" "$scratch/quick.mnt" -o "log=$log,compression=fast,workers=1"
tr 0-9 5-90-4 <"$scratch/numbers" >"$scratch/others"
others=$(ctl --json backup run "$scratch/quick" more --disk "d=$scratch/others" --compression default 2>"$scratch/err" | jq .stored_bytes)
grep -q '^vaultctl: note: .*compression=' "$scratch/err" || fail "it said: $(cat "$scratch/err")"
[[ $others -gt $((small * 102 / 100)) ]] || fail "the mount stored $others bytes, the default takes $small"
assert_same "$scratch/others" "$scratch/quick.mnt/more/d"
"$umounter" "$scratch/quick.mnt"
assert_frames "$scratch/quick" "262144 1048576"
ctl verify "$scratch/quick" >/dev/null
"$vaultfs" "$scratch/small" "$scratch/quick.mnt" -o "log=$log"
ctl backup run "$scratch/small" more --disk "d=$scratch/others" >/dev/null
"$umounter" "$scratch/quick.mnt"
assert_frames "$scratch/small" "524288 1048576"

say "a mount of another user: descriptors are read as they were given, by root and by that user"
if [[ $(id -u) == 0 ]] && command -v setpriv fusermount3 >/dev/null; then
  theirs=$scratch/theirs
  install -d -m 0700 -o 65534 -g 65534 "$theirs" "$theirs/mnt"
  as_nobody() {
    env VAULTFS_HOME="$theirs/home" VAULTFS_RUNTIME_DIR="$theirs/run" \
      setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
  }
  as_nobody test -x "$theirs" || skip "user 65534 cannot reach $theirs: run with a TMPDIR that others may pass through"
  install -d -m 0755 "$scratch/bin"
  install -m 0755 "$vaultfs" "$vaultctl" "$scratch/bin" # the build directory may be root's alone
  as_nobody "$scratch/bin/vaultctl" vault create "$theirs/vault" --no-recovery >/dev/null
  chmod 0600 "$scratch/text"
  as_nobody "$scratch/bin/vaultctl" backup run "$theirs/vault" given --disk d=/dev/fd/7 7<"$scratch/text" >/dev/null
  as_nobody "$scratch/bin/vaultctl" restore "$theirs/vault" given --to "$theirs/given" >/dev/null
  assert_same "$scratch/text" "$theirs/given"
  if as_nobody "$scratch/bin/vaultfs" "$theirs/vault" "$theirs/mnt" 2>"$scratch/err"; then
    # Root may ask the owner, whoever that is; the owner could not open root's file by itself.
    VAULTFS_HOME=$theirs/home VAULTFS_RUNTIME_DIR=$theirs/run "$vaultctl" backup run "$theirs/vault" fd \
      --disk "a=$scratch/text" >/dev/null
    as_nobody "$scratch/bin/vaultctl" backup run "$theirs/vault" fd --disk b=/dev/fd/7 7<"$scratch/text" >/dev/null
    as_nobody "$scratch/bin/vaultctl" restore "$theirs/vault" fd --to "$theirs/back" >/dev/null
    assert_same "$scratch/text" "$theirs/back/a"
    assert_same "$scratch/text" "$theirs/back/b"
    as_nobody fusermount3 -u "$theirs/mnt"
  else
    grep -Eq 'PermissionDenied|MemoryLockFailed|fusermount' "$scratch/err" || fail "no mount: $(cat "$scratch/err")"
    say "users can't mount here: $(cat "$scratch/err")"
  fi
fi
