# Permissions, ownership, times; another user through allow_other; what is not there answers EOPNOTSUPP. See posix_semantics.sh for the rest.
. "$(dirname "$0")/lib.sh"
need_fuse
need_root
need setpriv setfattr getfattr
new_vault
mount_vault commit=manual allow_other
mkdir -m 0755 "$mnt/vm"
chmod 0755 "$mnt" 2>/dev/null || true
cd "$mnt/vm"
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; }

say "modes, with the caller's umask"
(umask 027 && : >made && mkdir made.d)
assert_eq "$(stat -c %a made)" 640
assert_eq "$(stat -c %a made.d)" 750
chmod 4711 made
assert_eq "$(stat -c %a made)" 4711
chown 65534:65534 made
assert_eq "$(stat -c %u:%g made)" 65534:65534
assert_eq "$(stat -c %a made)" 711 "chown takes the set-uid bit"
mkdir -m 2775 setgid
chgrp 4242 setgid
: >setgid/inherits
assert_eq "$(stat -c %g setgid/inherits)" 4242

say "times"
touch -d '1999-12-31 23:59:59.123456789' made
assert_eq "$(stat -c %y made)" '1999-12-31 23:59:59.123456789 +0000'
touch -a -d '2030-01-01 00:00:00.5' made
assert_eq "$(stat -c %x made)" '2030-01-01 00:00:00.500000000 +0000'
touch -d '1960-06-06 06:06:06' made
assert_eq "$(stat -c %Y made)" "$(date -d '1960-06-06 06:06:06' +%s)"
before=$(stat -c %.9Y made.d)
: >made.d/child
[[ $(stat -c %.9Y made.d) != "$before" ]] || fail "a directory's time does not follow its entries"
echo x >>made
[[ $(stat -c %Y made) -gt 1600000000 ]] || fail "a write does not move mtime"

say "another user is held to them"
echo secret >private
chmod 0600 private
expect_errno EACCES as_nobody cat private
chmod 0644 private
assert_eq "$(as_nobody cat private)" secret
expect_errno EACCES as_nobody touch made.d/intruder
mkdir -m 1777 tmp
as_nobody touch tmp/theirs
assert_eq "$(stat -c %u tmp/theirs)" 65534
: >tmp/ours
expect_errno EPERM as_nobody rm -f tmp/ours
expect_errno EPERM as_nobody chown 0 tmp/theirs
as_nobody rm tmp/theirs

say "kinds of files"
mkfifo pipe
assert_eq "$(stat -c %F pipe)" fifo
mknod device c 1 3
assert_eq "$(stat -c '%F %t %T' device)" 'character special file 1 3'

say "statfs tells of real space"
total=$(stat -f -c '%b' .)
[[ $total -gt 0 && $(stat -f -c %a .) -le $total ]] || fail "statfs makes no sense"

say "extended attributes that can't be kept are refused, not swallowed"
expect_errno EOPNOTSUPP setfattr -n system.color -v blue made
setfattr -n user.color -v blue made
assert_eq "$(getfattr --only-values -n user.color made)" blue

say "after a remount and in a recovery point"
describe() { find . -printf '%P %y %m %U:%G %T@ %n\n' | sort; }
describe >"$scratch/before"
cd "$scratch"
ctl backup commit "$vault" vm >/dev/null
unmount_vault
mount_vault commit=manual allow_other
(cd "$mnt/vm" && describe) | cmp - "$scratch/before"
(cd "$mnt/.recovery-points/vm/$(newest_point vm)" && describe) | cmp - "$scratch/before"
unmount_vault

say "without allow_other nobody else gets in, not even to look"
mount_vault commit=manual
expect_errno EACCES as_nobody ls "$mnt"
unmount_vault
