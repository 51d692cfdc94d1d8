# What a revocation promises is looked for where it would show: in the memory of the mounting process, as root. Before,
# the search finds the vault's keys and its owner's data there; after the end of the grace it finds none of them.
. "$(dirname "$0")/lib.sh"
need_fuse
need_root
need openssl python3
if sanitized; then skip "a sanitizer's runtime keeps what was freed"; fi
search() { # SECRETS RESULT
  local code=0
  python3 "$source_dir/tests/e2e/memory_search.py" "$pid" "$1" >"$2" || code=$?
  [[ $code != 77 ]] || skip "the kernel lets nobody read the daemon's memory"
  [[ $code == 0 ]] || fail "the search failed"
}
new_key
active=$(newest_version)
new_vault
echo 'opens the file' >"$scratch/file-pass"
ctl key export office/backup --to "$scratch/key.pem" --file-passphrase-file "$scratch/file-pass" >/dev/null
# Files with a mark of 16 random bytes in each 512, between what does not compress and what does.
python3 - "$scratch" <<'PY'
import os, sys
scratch = sys.argv[1]
def marked(mark, filler, blocks):
    return b"".join(mark + filler(496) for _ in range(blocks))
text = lambda count: (b"All work and no play makes Jack a dull boy. " * 12)[:count]
marks = {}
for name, filler, blocks in (("disk", os.urandom, 24 << 11), ("text", text, 8 << 11), ("imported", os.urandom, 4 << 11),
                             ("small", os.urandom, 100), ("unsynced", os.urandom, 3 << 11), ("late", os.urandom, 16)):
    marks["data of " + name] = os.urandom(16)
    with open(f"{scratch}/{name}", "wb") as out:
        out.write(marked(marks["data of " + name], filler, blocks))
import json
with open(f"{scratch}/marks", "w") as out:
    json.dump({name: mark.hex() for name, mark in marks.items()}, out)
PY

say "a mount at work: streams, small writes, reads of all sorts, points, a backup run, a restore, a verification"
mount_vault commit=manual
pid=$(daemon_pid)
ctl encryption set "$vault" --revocation-grace 3 >/dev/null
mkdir "$mnt/vm"
cp "$scratch/disk" "$scratch/text" "$mnt/vm/"
ctl backup commit "$vault" vm >/dev/null
ctl backup run "$vault" vm --disk "imported=$scratch/imported" >/dev/null
cp "$scratch/small" "$mnt/vm/small"
sync "$mnt/vm/small"
python3 - "$mnt/vm" "$mnt"/.recovery-points/vm/* <<'PY'
import mmap, os, random, sys
working, *points = sys.argv[1:]
for path in [working + "/disk", working + "/text", *(point + "/disk" for point in points)]:
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    size = os.fstat(file).st_size
    buffer = mmap.mmap(-1, 1 << 20)
    for at in range(0, size, 1 << 20):
        os.preadv(file, [buffer], at)
    piece = mmap.mmap(-1, 4096)
    for _ in range(300):
        os.preadv(file, [piece], random.randrange(size // 4096) * 4096)
    os.close(file)
file = os.open(working + "/disk", os.O_RDWR) # random writes into the middle of chunks, read back
for _ in range(200):
    at = random.randrange(6000) * 4096
    block = os.pread(file, 4096, at)
    os.pwrite(file, block, at)
os.fsync(file)
os.close(file)
PY
ctl restore "$vault" vm --disk disk --to "$scratch/restored" >/dev/null
assert_same "$scratch/disk" "$scratch/restored"
ctl verify "$vault" >/dev/null
ctl key new-epoch "$vault" >/dev/null
setfattr -n user.note -v "an attribute" "$mnt/vm/small" 2>/dev/null || true
exec 5>"$mnt/vm/unsynced"
cat "$scratch/unsynced" >&5 # acknowledged, and nowhere but in the daemon's memory

say "the search works: the keys are found, and the data"
secrets() {
  python3 "$source_dir/tests/frozen/vault_secrets.py" "$vault" --key "$scratch/key.pem" --passphrase-file "$scratch/file-pass"
}
secrets >"$scratch/keys"
jq -s add "$scratch/keys" "$scratch/marks" >"$scratch/secrets"
search "$scratch/secrets" "$scratch/before"
for name in "root key" "chunk-id key" "DEK 1" "DEK 2" "keyring key" "data of disk" "data of unsynced"; do
  jq -e --arg name "$name" '.[$name].count > 0' "$scratch/before" >/dev/null || fail "the search does not find: $name"
done
jq -e '[keys[] | select(startswith("key of"))] | length > 0' "$scratch/before" >/dev/null || fail "no container's key is found"

say "revoked: after the grace no key, no derived key and no data is left"
ctl key disable "office/backup/$active" --override backup >/dev/null
if ctl encryption refresh "$vault" >/dev/null 2>&1; then fail "a refresh with a disabled key ended well"; fi
cp "$scratch/late" "$mnt/vm/late" # in the grace
sync "$mnt/vm/late"
sealed() { [[ $(jctl .key_access encryption show "$vault" 2>/dev/null) == Sealed ]]; }
wait_until 20 sealed
jq -s 'add' <(secrets) "$scratch/secrets" >"$scratch/all" # with the containers that were begun since
forgotten() {
  search "$scratch/all" "$scratch/after"
  [[ $(jq length "$scratch/after") == 0 ]]
}
# A search takes as long as it takes; what is not forgotten soon never is.
deadline=$((SECONDS + 20))
until forgotten; do
  [[ $SECONDS -lt $deadline ]] || fail "still there: $(cat "$scratch/after")"
  sleep 1
done

say "and again while somebody keeps asking, who gets nothing"
for _ in 1 2 3; do
  cat "$mnt/vm/disk" "$mnt/vm/small" >"$scratch/read" 2>"$scratch/err" && fail "a sealed vault was read"
  grep -q 'Key has been revoked' "$scratch/err" || fail "cat said: $(cat "$scratch/err")"
done
ctl encryption refresh "$vault" >/dev/null 2>&1 && fail "a refresh with a disabled key ended well"
forgotten || fail "came back: $(cat "$scratch/after")"

say "access returns: all that was acknowledged is there"
ctl key enable "office/backup/$active" >/dev/null
ctl encryption refresh "$vault" >/dev/null
readable() { cmp -s "$scratch/small" "$mnt/vm/small"; }
wait_until 20 readable
exec 5>&-
for name in disk text imported unsynced late; do assert_same "$scratch/$name" "$mnt/vm/$name"; done
echo more >"$mnt/vm/more"
sync "$mnt/vm/more"
ctl backup commit "$vault" vm >/dev/null
unmount_vault
ctl verify "$vault" >/dev/null
