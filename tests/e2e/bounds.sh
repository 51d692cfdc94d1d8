# Before anything of a vault is authentic nothing large is held and little is read: files as long as a disk under the
# names of its own, and beside them, and folders with very many files cost each command less than 64 MiB of
# memory and a little processor time, and it ends well or says that the vault is damaged. Nothing undamaged is lost.
. "$(dirname "$0")/lib.sh"
need python3
new_vault
random_file "$scratch/disk" 3M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl key new-epoch "$vault" >/dev/null
random_file "$scratch/other" 1M
ctl backup run "$vault" other --disk "d=$scratch/other" >/dev/null
cp -a "$vault" "$scratch/vault-as-it-was"
cp -a "$VAULTFS_HOME" "$scratch/home-as-it-was"
long=1T
truncate -s "$long" "$scratch/long" 2>/dev/null || long=8G
rm -f "$scratch/long"

cat >"$scratch/measure.py" <<'PYTHON'
"""Runs a command: prints its exit code, its peak memory in KiB and its processor time in milliseconds."""
import resource, subprocess, sys
with open(sys.argv[1], "wb") as err:
    code = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_maxrss, round((used.ru_utime + used.ru_stime) * 1000))
PYTHON
cat >"$scratch/plant.py" <<'PYTHON'
"""plant.py heads|points VAULT COUNT: files that are whole in form, of this vault, and that its owner did not write."""
import hashlib, os, struct, sys
kind, vault, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
folder = os.path.join(vault, kind)
extension = {"heads": ".head", "points": ".point"}[kind]
names = sorted(name for name in os.listdir(folder) if name.endswith(extension))
with open(os.path.join(folder, names[-1]), "rb") as file:
    template = file.read()
# The generation stands behind magic 8, version 2, length 4, three masks and the vault's id.
generation_at = 8 + 2 + 4 + 24 + 16
for number in range(10_000, 10_000 + count):
    content = template[:160]
    if kind == "heads":
        body = template[:generation_at] + struct.pack("<Q", number) + template[generation_at + 8 : -32]
        content = body + hashlib.sha256(body).digest()
    with open(os.path.join(folder, f"{number:016x}{extension}"), "wb") as file:
        file.write(content)
PYTHON

commands=("recovery-point list $vault" "restore $vault vm --disk d --to $scratch/back" "verify $vault" "verify $vault --keyless"
  "activity $vault --verify" "backup run $vault vm --disk d=$scratch/disk")
# The usual costs of each command, and the most that it may cost: 64 MiB more, and processor time for a slow machine.
usual=()
most_ms=$((10000 * time_factor))
run() { # COMMAND: leaves code, kib and ms
  rm -f "$scratch/back"
  # shellcheck disable=SC2086 # words
  read -r code kib ms < <(python3 "$scratch/measure.py" "$scratch/err" "$vaultctl" $1)
  if [[ $code == 0 && $1 == restore* ]]; then assert_same "$scratch/disk" "$scratch/back"; fi
}
as_it_was() {
  rm -rf "$vault" "$VAULTFS_HOME"
  cp -a "$scratch/vault-as-it-was" "$vault"
  cp -a "$scratch/home-as-it-was" "$VAULTFS_HOME"
}
for command in "${commands[@]}"; do
  run "$command"
  assert_eq "$code" 0 "$command"
  usual+=("$kib")
done
as_it_was

look() { # WHAT CODES
  local i worst_kib=0 worst_ms=0
  for i in "${!commands[@]}"; do
    run "${commands[i]}"
    [[ "$code" =~ ^($2)$ ]] || fail "$1: ${commands[i]} ended with $code: $(cat "$scratch/err")"
    [[ $ms -lt $most_ms ]] || fail "$1: ${commands[i]} took $ms ms of the processor"
    kib=$((kib - usual[i]))
    sanitized || [[ $kib -lt $((64 * 1024)) ]] || fail "$1: ${commands[i]} took $kib KiB more than usual"
    [[ $kib -le $worst_kib ]] || worst_kib=$kib
    [[ $ms -le $worst_ms ]] || worst_ms=$ms
  done
  say "$1: at most $worst_kib KiB more, $worst_ms ms"
}

for folder in activity checkpoints heads index journal keyrings points segments; do
  file=$(cd "$vault" && find "$folder" -type f | sort | tail -n 1)
  [[ -n $file ]] || continue
  truncate -s "$long" "$vault/$file"
  look "$file has $long" '0|10|11|40'
  as_it_was
done
say "a segment that was not closed"
file=$(cd "$vault" && find segments -name '*.seg' | sort | tail -n 1)
truncate -s -32 "$vault/$file"
mv "$vault/$file" "$vault/${file%.seg}.open"
truncate -s "$long" "$vault/${file%.seg}.open"
look "${file%.seg}.open has $long" '0|10|11|40'
ctl verify "$vault" >/dev/null # the owner has closed it
as_it_was
for name in keyrings/00000000000000ff.keyring heads/00000000000000ff.head heads/0000000000000400.pack segments/00000000000000ff.seg \
  segments/00000000000000ff.open journal/00000000000000ff.journal checkpoints/00000000000000ff.checkpoint \
  points/00000000000000ff.point activity/00000000000000ff.activity index/00000000000000ff.index; do
  truncate -s "$long" "$vault/$name"
done
look "a file of $long beside those of each kind" '0|40'
as_it_was
for kind in heads points; do
  python3 "$scratch/plant.py" "$kind" "$vault" 20000
  look "20,000 files in $kind/ that the owner did not write" '0|40'
  as_it_was
done
