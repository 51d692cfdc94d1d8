# Every source file is as clang-format writes it.
set -euo pipefail
cd "$(dirname "$0")/../.."
formatter=$(command -v clang-format-14 || command -v clang-format) || {
  echo "SKIPPED: clang-format is not installed"
  exit 77
}
find base crypto store vaultmeta fs tools tests \( -name '*.cc' -o -name '*.h' \) -print0 | xargs -0 "$formatter" --dry-run -Werror
