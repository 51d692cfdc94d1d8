# No descriptor of a program outlives what it is for: none is handed to the programs that it starts, and a passphrase that came by a
# descriptor is read once and gone.
. "$(dirname "$0")/lib.sh"
need_fuse
echo correct-horse >"$scratch/pass"
chmod 600 "$scratch/pass"
ctl keyvault create safe --new-passphrase-file "$scratch/pass" >/dev/null
ctl --passphrase-file "$scratch/pass" key create safe/k --bits 2048 >/dev/null
ctl --passphrase-file "$scratch/pass" vault create "$vault" --key safe/k >/dev/null 2>&1

say "a passphrase file that others may write is refused, by whatever option it comes"
for mode in 620 602; do
  chmod "$mode" "$scratch/pass"
  expect_error PermissionDenied 5 "$vaultctl" --passphrase-file "$scratch/pass" key rotate safe/k
  expect_error PermissionDenied 5 "$vaultctl" keyvault create other --new-passphrase-file "$scratch/pass"
  expect_error PermissionDenied 5 "$vaultfs" "$vault" "$mnt" -o "log=$log,passphrase-file=$scratch/pass"
done
chmod 600 "$scratch/pass"

say "the daemon: all of its descriptors are its own, and the passphrase's is closed"
given=$(sh -c 'for n in /proc/$$/fd/*; do echo "${n##*/}"; done' </dev/null)
"$vaultfs" "$vault" "$mnt" -o "log=$log,passphrase-fd=7" 7<"$scratch/pass" </dev/null
mkdir "$mnt/vm"
random_file "$mnt/vm/disk" 3M
ctl backup commit "$vault" vm >/dev/null
python3 - "$(daemon_pid)" "$scratch/pass" "$given" <<'PYTHON'
import os, sys

process, passphrase, given = sys.argv[1], sys.argv[2], sys.argv[3].split()
seen = 0
for name in os.listdir(f"/proc/{process}/fdinfo"):
    if name in given:  # what whoever runs this test has left open
        continue
    try:
        target = os.readlink(f"/proc/{process}/fd/{name}")
        text = open(f"/proc/{process}/fdinfo/{name}").read()
    except FileNotFoundError:
        continue
    assert target != passphrase, f"descriptor {name} still reads the passphrase"
    flags = int(next(line.split()[1] for line in text.splitlines() if line.startswith("flags:")), 8)
    seen += 1
    assert flags & os.O_CLOEXEC, f"descriptor {name} ({target}) would be inherited"
assert seen >= 5, f"only {seen} descriptors: the test looks at nothing"
PYTHON

say "a command that runs under vault hold inherits nothing of vaultctl's"
ctl vault hold "$vault" -- sh -c "readlink /proc/self/fd/* >'$scratch/inherited'" || true
if grep -E "$vault|$VAULTFS_HOME|$VAULTFS_RUNTIME_DIR" "$scratch/inherited"; then fail "it got a descriptor of the vault's"; fi
unmount_vault

say "a descriptor is read once"
"$vaultctl" --passphrase-fd 7 key rotate safe/k 7<"$scratch/pass" </dev/null >/dev/null
"$vaultctl" --passphrase-fd 0 key rotate safe/k <"$scratch/pass" >/dev/null
