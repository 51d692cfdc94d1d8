# Directories, renames, links, unlink, truncate: what programs rely on, and what must be refused.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
mount_vault commit=manual
mkdir "$mnt/vm" "$mnt/other"
cd "$mnt/vm"

say "the root holds item directories only"
expect_errno EPERM touch "$mnt/file-at-the-top"
expect_errno EPERM ln -s somewhere "$mnt/link-at-the-top"
expect_errno EINVAL mkdir "$mnt/.hidden"
expect_errno EINVAL mkdir "$mnt/with@sign"
expect_errno EINVAL mkdir "$mnt/-dash"
expect_errno EINVAL mkdir "$mnt/$(printf 'new\nline')"
expect_errno EINVAL mkdir "$mnt/$(printf 'x%.0s' {1..200})"
expect_errno ENAMETOOLONG mkdir "$mnt/$(printf 'x%.0s' {1..300})"
expect_errno ENAMETOOLONG touch "$mnt/vm/$(printf 'x%.0s' {1..256})"

say "names of 255 bytes, with newlines, blanks, quotes and bytes that are no UTF-8"
long=$(printf 'y%.0s' {1..255})
for name in "$long" $'a\nb' ' blank ' "it's" $'\xff\xfe' '-rf' '*'; do
  printf %s "$name" >"./$name"
  assert_eq "$(cat "./$name")" "$name" "the content under a strange name"
done
assert_eq "$(find . -mindepth 1 -maxdepth 1 -printf x | wc -c)" 7 "names listed"

say "rename within a directory, over a file, between directories"
mkdir d1 d2
echo one >d1/f
echo two >d1/g
mv d1/f d1/g
assert_eq "$(cat d1/g)" one
mv d1/g d2/h
assert_eq "$(cat d2/h)" one
[[ ! -e d1/g ]] || fail "the old name is still there"
mkdir -p d1/deep/deeper
mv d1 d2/d1
[[ -d d2/d1/deep/deeper ]] || fail "a moved directory lost its content"
expect_errno EINVAL python3 -c 'import os; os.rename("d2", "d2/d1/deep/d2")'
expect_errno ENOTEMPTY python3 -c 'import os; os.mkdir("e"); os.rename("e", "d2")'
rmdir e

say "renames and links across items are EXDEV, an item is not renamed"
echo x >cross
expect_errno EXDEV python3 -c 'import os; os.rename("cross", "../other/cross")'
expect_errno EXDEV python3 -c 'import os; os.link("cross", "../other/cross")'
if python3 -c 'import os; os.rename("../other", "../another")' 2>"$scratch/err"; then fail "an item was renamed"; fi
[[ -d $mnt/other && ! -e $mnt/another ]] || fail "a refused rename changed something"

say "hard links and symbolic links"
echo linked >l1
ln l1 l2
assert_eq "$(stat -c %h l1)" 2
rm l1
assert_eq "$(cat l2)" linked
assert_eq "$(stat -c %h l2)" 1
ln -s l2 l3
assert_eq "$(readlink l3)" l2
assert_eq "$(cat l3)" linked

say "an unlinked file lives as long as it is open"
echo alive >ghost
exec 5<>ghost
rm ghost
[[ ! -e ghost ]] || fail "the name is still there"
assert_eq "$(cat /dev/fd/5)" alive
exec 5>&-

say "truncate: down inside a chunk, up again reads zeros, to odd sizes"
head -c 3000000 /dev/urandom >t
head -c 1234567 t >"$scratch/model"
truncate -s 1234567 t
truncate -s 2999999 t "$scratch/model"
assert_same "$scratch/model" t
truncate -s 0 t
assert_eq "$(stat -c %s t)" 0
truncate -s 1T t
assert_eq "$(stat -c %s t)" 1099511627776
assert_eq "$(allocated t)" 0 "space of an empty terabyte"

say "directories: not empty, wrong kind"
expect_errno ENOTEMPTY rmdir d2
expect_errno ENOTDIR rmdir l2
expect_errno EISDIR python3 -c 'import os; os.open("d2", os.O_WRONLY)'
expect_errno ENOENT cat nothing
expect_errno EEXIST mkdir d2

say "a directory of 3,000 names, listed while it shrinks"
python3 - <<'PY'
import os
os.mkdir("many")
for n in range(3000): open(f"many/{n:05}", "w").close()
assert len(os.listdir("many")) == 3000
seen = 0
with os.scandir("many") as entries:
    for entry in entries:
        os.unlink(entry.path); seen += 1
assert seen == 3000, seen
os.rmdir("many")
PY

say "after a remount it is the same"
find . -printf '%P %y %s %l\n' | sort >"$scratch/before"
cd "$scratch"
unmount_vault
mount_vault commit=manual
(cd "$mnt/vm" && find . -printf '%P %y %s %l\n' | sort) >"$scratch/after"
assert_same "$scratch/before" "$scratch/after"

say "an item's directory is removed: its points stay, and it can be made again"
ctl backup commit "$vault" vm >/dev/null
rm -rf "$mnt/vm"
assert_eq "$(point_count vm)" 1
[[ -e $mnt/.recovery-points/vm/$(newest_point vm)/l2 ]] || fail "the point went with the directory"
mkdir "$mnt/vm"
echo again >"$mnt/vm/again"
ctl backup commit "$vault" vm >/dev/null
assert_eq "$(point_count vm)" 2
unmount_vault
