# Somebody without root makes a vault, mounts it, writes into it, backs up, restores, and takes it to a second machine: by the
# README's words, with nothing of root's.
. "$(dirname "$0")/lib.sh"
need_fuse
need setpriv unshare fusermount3
need_root # to become somebody else
# /dev/fuse is root's alone on some machines: in a namespace of its own this test has one that is everybody's.
mkdir -p "$scratch/bin" "$scratch/user"
cp "$vaultfs" "$vaultctl" "$umounter" "$scratch/bin/"
chown 65534:65534 "$scratch/user"
chmod 755 "$scratch/bin" "$scratch/bin/"*
mknod -m 0666 "$scratch/fuse" c 10 229 || skip "no device nodes can be made here"
cat >"$scratch/flow" <<'FLOW'
set -euo pipefail
unset VAULTFS_HOME VAULTFS_RUNTIME_DIR XDG_DATA_HOME XDG_RUNTIME_DIR
export HOME=$PWD/home PATH=$scratch/bin:$PATH
mkdir home mnt
wrong() { echo "WRONG: $*" >&2; exit 1; }
head -c 8M /dev/urandom >disk.img
chmod 640 disk.img
echo "== a vault, and his own mount of it"
vaultctl keyvault create home-keys >/dev/null
vaultctl key create home-keys/backup >/dev/null
vaultctl vault create vault --key home-keys/backup >made 2>/dev/null
vaultfs vault mnt -o commit=manual 2>/dev/null
trap 'fusermount3 -u -z mnt 2>/dev/null || true' EXIT
[[ $(stat -c %u mnt) == "$(id -u)" ]] || wrong "the top of the mount belongs to $(stat -c %U mnt)"
mkdir mnt/vm
cp disk.img mnt/vm/
vaultctl backup commit vault vm >/dev/null
echo "== backup run makes files that are his"
vaultctl backup run vault other --disk d=disk.img >/dev/null
[[ $(stat -c %u:%a mnt/other/d) == "$(id -u):640" ]] || wrong "the disk is $(stat -c %U:%a mnt/other/d)"
cmp disk.img mnt/other/d
echo changed | dd of=mnt/other/d conv=notrunc status=none
vaultctl backup commit vault other >/dev/null
echo "== restored, mounted and not"
vaultctl restore vault vm --to out/ >/dev/null
cmp disk.img out/disk.img
vaultctl key export home-keys/backup --to key.pem --file-passphrase-file <(echo phrase) >/dev/null
fusermount3 -u mnt
for _ in {1..600}; do vaultctl verify vault >/dev/null 2>&1 && break; sleep 0.1; done
vaultctl restore vault vm --to out2/ >/dev/null
cmp disk.img out2/disk.img
vaultctl verify vault >/dev/null
fingerprint=$(vaultctl --json vault show vault | jq -r .fingerprint)
echo "== a second machine of his"
cp -a vault copied
mv vault original
mkdir second
export HOME=$PWD/second
vaultctl keyvault create home-keys >/dev/null
vaultctl key import home-keys/backup --from key.pem --file-passphrase-file <(echo phrase) --enable >/dev/null
identity=$(vaultctl --json identity create --vault copied | jq -r .id)
vaultctl keyvault allow home-keys --identity "$identity" --template backup >/dev/null
vaultctl vault trust copied --fingerprint "$fingerprint" >/dev/null
vaultctl restore copied vm --to out3/ >/dev/null
cmp disk.img out3/disk.img
FLOW
export scratch
unshare -m --propagation private bash -c '
  mount --bind "$scratch/fuse" /dev/fuse
  # What logging in makes: uid 65534 has no home directory of its own.
  mkdir -p /run/user
  mount -t tmpfs none /run/user
  install -d -m 0700 -o 65534 -g 65534 /run/user/65534
  cd "$scratch/user"
  exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all bash "$scratch/flow"' || fail "see above"
