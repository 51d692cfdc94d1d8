# Backup jobs through the mount: settle, manual, open files, unchanged items, interrupted work.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
points() { jctl '.recovery_points | length' recovery-point list "$vault"; }
last_point() { jctl "[.recovery_points[] | select(.item == \"vm\")][-1]$1" recovery-point list "$vault"; }
last_job() { jctl "[.jobs[] | select(.item == \"vm\" and .kind == \"Backup\")][-1]$1" job list "$vault"; }
points_are() { [[ $(points) == "$1" ]]; }

say "settle=1: a point by itself once nothing is open for writing, marked auto"
mount_vault settle=1
mkdir "$mnt/vm"
exec 5>"$mnt/vm/open"
echo one >&5
sleep 3
assert_eq "$(points)" 0 "a point while a file is open for writing"
assert_eq "$(last_job .state)" InProgress
exec 5>&-
wait_until 20 points_are 1
assert_eq "$(last_point .auto)" true
assert_eq "$(last_point .consistency)" FileConsistent
assert_eq "$(last_job .state)" Completed
assert_eq "$(last_job .recovery_point_number)" 1

say "an explicit commit of an unchanged item: no change, no new point, and the auto point becomes an explicit one"
assert_eq "$(jctl '.recovery_point | type' backup commit "$vault" vm)" null
assert_eq "$(points)" 1
assert_eq "$(last_job .state)" CompletedNoChange
assert_eq "$(last_point '.auto | not')" true
reading=$(cat "$mnt/vm/open")
sleep 3
assert_eq "$reading" one
assert_eq "$(points)" 1 "points after mere reading"

say "backup commit with a file open for writing: crash-consistent; what comes later belongs to the next job"
exec 5>>"$mnt/vm/open"
echo two >&5
ctl backup commit "$vault" vm >/dev/null
assert_eq "$(points)" 2
assert_eq "$(last_point .consistency)" CrashConsistent
echo three >&5
assert_eq "$(cat "$mnt/.recovery-points/vm/$(newest_point vm)/open")" $'one\ntwo'
exec 5>&-
wait_until 20 points_are 3
assert_eq "$(cat "$mnt/.recovery-points/vm/$(newest_point vm)/open")" $'one\ntwo\nthree'

say "umount commits a running job"
echo four >>"$mnt/vm/open"
unmount_vault
assert_eq "$(points)" 4
assert_eq "$(last_point .auto)" true

say "commit=manual: nothing by itself, not at unmount either; the work stays"
mount_vault commit=manual
echo five >>"$mnt/vm/open"
sleep 2
unmount_vault
assert_eq "$(points)" 4
mount_vault commit=manual
assert_eq "$(tail -n 1 "$mnt/vm/open")" five
ctl backup commit "$vault" vm >/dev/null
assert_eq "$(points)" 5
assert_eq "$(last_point .auto)" false

say "max-job: a job that lasts longer is committed with files open"
unmount_vault
mount_vault settle=60 max-job=2
exec 5>>"$mnt/vm/open"
echo six >&5
wait_until 20 points_are 6
exec 5>&-
unmount_vault

say "a crash interrupts the job: later automatic points say so, an explicit commit ends it"
before=$(points)
mount_vault settle=60
echo seven >>"$mnt/vm/open"
sync "$mnt/vm/open"
kill_daemon
umount -l "$mnt"
mount_vault settle=1
assert_eq "$(jctl '.items[] | select(.name == "vm") | .interrupted' vault show "$vault")" true
assert_eq "$(last_job .state)" Interrupted
assert_eq "$(tail -n 1 "$mnt/vm/open")" seven
assert_eq "$(points)" "$before"
echo eight >>"$mnt/vm/open"
wait_until 20 points_are $((before + 1))
assert_eq "$(last_point .after_interruption)" true
exec 5>>"$mnt/vm/open" # open, so that the commit is no later than the settled one
echo nine >&5
ctl backup commit "$vault" vm >/dev/null
assert_eq "$(last_point .after_interruption)" false
exec 5>&-
assert_eq "$(ctl --json vault show "$vault" | jq '.items[] | select(.name == "vm") | .interrupted')" false

say "jobs are listed oldest first and shown by number"
numbers=$(jctl '[.jobs[].job] | (. == sort) and (length == (unique | length))' job list "$vault")
assert_eq "$numbers" true
last=$(last_job .job)
assert_eq "$(jctl .item job show "$vault" "$last")" vm
expect_error JobNotFound 3 "$vaultctl" job show "$vault" 99999
expect_error ItemNotFound 3 "$vaultctl" backup commit "$vault" nobody
unmount_vault
