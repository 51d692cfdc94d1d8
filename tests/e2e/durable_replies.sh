# Answers that promise that a change is durable: writes with O_SYNC and O_DSYNC, fsync of a folder, and every change of a
# mount with -o sync. The daemon is killed right after each, and what was answered is there.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
changes=$(dirname "$0")/durable_replies.py

mount_vault commit=manual
mkdir "$mnt/vm"
python3 "$changes" prepare "$mnt/vm"
unmount_vault

done_last=
check_last() {
  [[ -z $done_last ]] || python3 "$changes" check "$done_last" "$mnt/vm" || fail "$done_last"
}
python3 "$changes" list >"$scratch/changes"
while read -r change options; do
  extra=()
  [[ $options == - ]] || extra=("$options")
  mount_vault commit=manual "${extra[@]}"
  check_last
  say "$change"
  python3 "$changes" do "$change" "$mnt/vm"
  kill_daemon
  umount -l "$mnt"
  done_last=$change
done <"$scratch/changes"
mount_vault commit=manual
check_last
unmount_vault
ctl verify "$vault" >/dev/null
