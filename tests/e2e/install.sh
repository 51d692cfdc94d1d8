# cmake --install into a directory of its own: every program is there, runs from there, and nothing else is written.
. "$(dirname "$0")/lib.sh"
need cmake
build=$(cd "$VAULTFS_BIN/.." && pwd)
[[ -f $build/CMakeCache.txt ]] || skip "VAULTFS_BIN is no build directory"
DESTDIR=$scratch/stage cmake --install "$build" >"$scratch/install.log" || fail "$(cat "$scratch/install.log")"
prefix=$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")
for program in vaultfs vaultctl; do
  "$scratch/stage$prefix/bin/$program" --version | grep -q "^$program "
done
for helper in mount.fuse.vaultfs umount.fuse.vaultfs; do
  [[ -x $scratch/stage/sbin/$helper ]] || fail "$helper is not installed"
done
grep -q "^exec \"$prefix/bin/vaultfs\"" "$scratch/stage/sbin/mount.fuse.vaultfs" || fail "the helper calls another program"
sh -n "$scratch/stage/sbin/mount.fuse.vaultfs"
stray=$(find "$scratch/stage" -name '*.h' -o -name '*.a' -o -name 'test_*')
[[ -z $stray ]] || fail "installed by mistake: $stray"
