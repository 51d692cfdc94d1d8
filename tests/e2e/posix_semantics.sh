# What system calls do inside an item, beside what they do on the file system of the scratch directory: the same answers.
. "$(dirname "$0")/lib.sh"
need_fuse
need_root
need setfattr setfacl
new_vault
oracle=$scratch/oracle
mkdir "$oracle"
setfattr -n user.probe -v 1 "$oracle" 2>/dev/null && setfacl -m u:nobody:r "$oracle" 2>/dev/null ||
  skip "the scratch directory's file system keeps no extended attributes or ACLs to compare with"
setfacl -b "$oracle"

describe() {
  find . -mindepth 1 \( -type d -printf '%P %y %m %U:%G %T@ %n\n' -o -printf '%P %y %m %U:%G %s %T@ %n %l\n' \) | sort
  find . -type f -print0 | sort -z | xargs -0 sha256sum
  python3 - <<'PYTHON'
import os
for path in sorted(os.path.join(base, name) for base, folders, files in os.walk(b".") for name in folders + files):
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        print(path, name, os.getxattr(path, name, follow_symlinks=False))
PYTHON
}

for cache in direct writeback; do
  say "cache=$cache"
  mount_vault commit=manual allow_other "cache=$cache"
  mkdir -p "$mnt/vm/$cache" "$oracle/$cache"
  python3 "$source_dir/tests/e2e/posix_semantics.py" "$oracle/$cache" >"$scratch/expected.$cache"
  if grep -F 'broke off' "$scratch/expected.$cache"; then fail "the questions do not work on the scratch file system"; fi
  python3 "$source_dir/tests/e2e/posix_semantics.py" "$mnt/vm/$cache" >"$scratch/answers.$cache"
  # With a writeback cache the kernel does not ask where holes are: to it all is data.
  [[ $cache == direct ]] || sed -i '/^holes: /d; /^data behind the last: /d' "$scratch/expected.$cache" "$scratch/answers.$cache"
  diff "$scratch/expected.$cache" "$scratch/answers.$cache" || fail "the mount answers otherwise"
  # What the kernel knows of them is what the vault knows, to the nanosecond.
  (cd "$mnt/vm/$cache" && describe) >"$scratch/known.$cache"
  unmount_vault
  mount_vault commit=manual allow_other "cache=$cache"
  (cd "$mnt/vm/$cache" && describe) | diff "$scratch/known.$cache" - || fail "a remount changed something"
  unmount_vault
done
[[ $(wc -l <"$scratch/answers.direct") -gt 190 ]] || fail "too few answers"

say "all of it is there after a remount, and in a recovery point"
mount_vault commit=manual allow_other
(cd "$mnt/vm" && describe) >"$scratch/before"
grep -q 'posix_acl_access' "$scratch/before" || fail "there are no access lists to compare"
ctl backup commit "$vault" vm >/dev/null
unmount_vault
mount_vault commit=manual allow_other
(cd "$mnt/vm" && describe) | cmp - "$scratch/before"
(cd "$mnt/.recovery-points/vm/$(newest_point vm)" && describe) | cmp - "$scratch/before"
unmount_vault

say "and what was made in the mount comes back by restore"
mkdir "$scratch/restored"
ctl restore "$vault" vm --to "$scratch/restored/" >/dev/null
(cd "$scratch/restored" && describe) | diff "$scratch/before" -
