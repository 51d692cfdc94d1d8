# Whatever stands in a vault's directory in the place of what belongs there: the exit code says damage (10, 11, or 40 of verify), never
# that the caller was wrong (2, 3) or the disk (31).
. "$(dirname "$0")/lib.sh"
new_vault
random_file "$scratch/disk" 300K
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
cp -a "$vault" "$scratch/vault-as-it-was"
cp -a "$VAULTFS_HOME" "$scratch/home-as-it-was"

commands=("verify $vault" "verify $vault --keyless" "recovery-point list $vault" "restore $vault vm --disk d --to $scratch/back" "activity $vault"
  "activity $vault --verify" "activity $vault --verify --keyless" "vault show $vault" "encryption show $vault" "backup run $vault vm --disk d=$scratch/disk")
look() { # WHAT
  local command code
  for command in "${commands[@]}"; do
    rm -f "$scratch/back"
    code=0
    # shellcheck disable=SC2086 # words
    "$vaultctl" $command </dev/null >/dev/null 2>"$scratch/err" || code=$?
    [[ "$code" =~ ^(0|10|11|40)$ ]] || fail "$1: $command ended with $code: $(cat "$scratch/err")"
    if [[ $code == 0 && $command == restore* ]]; then assert_same "$scratch/disk" "$scratch/back"; fi
  done
  rm -rf "$vault" "$VAULTFS_HOME"
  cp -a "$scratch/vault-as-it-was" "$vault"
  cp -a "$scratch/home-as-it-was" "$VAULTFS_HOME"
}

for folder in activity heads journal keyrings points segments; do
  rm -r "${vault:?}/$folder"
  look "without $folder"
done
rm -r "$vault/heads"
echo x >"$vault/heads"
look "heads is a file"
for folder in activity heads keyrings segments points; do
  file=$(cd "$vault" && find "$folder" -type f | sort | tail -n 1)
  truncate -s 3G "$vault/$file"
  look "$file has 3 GiB"
done
file=$(cd "$vault" && find segments -type f | head -n 1)
rm "$vault/$file"
mkdir "$vault/$file"
look "$file is a folder"
