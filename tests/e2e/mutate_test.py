"""scripts/mutate kills what a test notices, and fails on what lives, hangs nowhere, and can't be judged."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

MUTATE = pathlib.Path(__file__).parent.parent.parent / "scripts" / "mutate"

CMAKE = """cmake_minimum_required(VERSION 3.25)
project(small CXX)
add_executable(test_small tests/small_test.cc sum.cc)
set_target_properties(test_small PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
enable_testing()
add_test(NAME small.sum COMMAND test_small --gtest_filter=Small.Sum)
"""
PRODUCT = """// first
int sum(int a, int b) {
  return a + b;
}
// between
int unguarded(int a) {
  return a;
}
// last
"""
# As much of a gtest program as the script sees.
TEST = """#include <cstdio>
#include <cstring>
int sum(int, int);
int main(int argc, char** argv) {
  bool meant = false;
  for (int i = 1; i < argc; ++i) meant = meant || std::strstr(argv[i], "=Small.") != nullptr;
  if (argc > 2 && std::strcmp(argv[2], "--gtest_list_tests") == 0) {
    if (meant) std::puts("Small.\\n  Sum");
    return 0;
  }
  if (meant && sum(2, 3) != 5) {
    std::puts("[  FAILED  ] Small.Sum");
    return 1;
  }
  return 0;
}
"""


def patch(kill, old, new, what="What: a fault\n"):
    lines = PRODUCT.splitlines()
    at = lines.index(old)
    body = [f" {lines[at - 1]}", f"-{old}", f"+{new}", f" {lines[at + 1]}"]
    return (f"{what}{kill}diff --git a/sum.cc b/sum.cc\n--- a/sum.cc\n+++ b/sum.cc\n@@ -{at},3 +{at},3 @@\n" + "\n".join(body) + "\n")


UNIT = "Kill: test_small Small.Sum\n"
# The patch; what the script says of it; the exit code.
CASES = [
    (patch(UNIT, "  return a + b;", "  return a - b;"), "killed    x (Small.Sum", 0),
    (patch("Kill: ctest small.sum\n", "  return a + b;", "  return a - b;"), "killed    x (small.sum", 0),
    (patch(UNIT, "  return a + b;", "  __builtin_trap();"), "killed    x (ends with", 0),
    (patch(UNIT, "  return a;", "  return a + 1;"), "SURVIVED  x: a fault", 1),
    (patch(UNIT, "  return a + b;", "  return c;"), "BROKEN    x: it does not build", 1),
    (patch(UNIT, "  return a + b;", "  return a - b;").replace("-  return a + b;", "-  return b + a;"), "BROKEN    x: it does not apply", 1),
    (patch("Kill: test_small Other.*\n", "  return a + b;", "  return a - b;"), "has no test Other.*", 1),
    (patch("Kill: test_other Small.*\n", "  return a + b;", "  return a - b;"), "test_other", 1),
    (patch("", "  return a + b;", "  return a - b;"), "needs a line", 1),
    (patch(UNIT, "  return a + b;", "  return a - b;", what=""), "needs a line", 1),
    (patch("Kill: test_small\n", "  return a + b;", "  return a - b;"), "is not “Kill: PROGRAM FILTER”", 1),
]


def main():
    if not shutil.which("rsync") or not shutil.which("ninja") or not shutil.which("git"):
        return 77
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as directory:
        top = pathlib.Path(directory)
        root = top / "checkout"
        (root / "tests" / "mutants").mkdir(parents=True)
        (root / "scripts").mkdir()
        shutil.copy(MUTATE, root / "scripts" / "mutate")
        (root / "CMakeLists.txt").write_text(CMAKE)
        (root / "sum.cc").write_text(PRODUCT)
        (root / "tests" / "small_test.cc").write_text(TEST)
        # The copy lies in the checkout, as it does by default, and the checkout is a repository.
        subprocess.run(["git", "init", "-q", root], check=True)
        environment = {name: value for name, value in os.environ.items() if name != "VAULTFS_MUTANTS_DIR"}
        failures = 0
        for number, (text, said, code) in enumerate(CASES):
            (root / "tests" / "mutants" / "x.patch").write_text(text)
            done = subprocess.run([root / "scripts" / "mutate"], env=environment, capture_output=True, text=True)
            out = done.stdout + done.stderr
            if done.returncode != code or said not in out:
                failures += 1
                print(f"case {number}: wanted exit code {code} and “{said}”, got {done.returncode} and:\n{out}")
        for name, text in (("x", CASES[0][0]), ("y", CASES[0][0])):
            (root / "tests" / "mutants" / f"{name}.patch").write_text(text)
        done = subprocess.run([root / "scripts" / "mutate", "--check"], cwd=root, capture_output=True, text=True)
        if done.returncode != 1 or "y: it is the same fault as x" not in done.stdout:
            failures += 1
            print(f"the same fault twice: {done.returncode} and:\n{done.stdout}{done.stderr}")
        if (root / "sum.cc").read_text() != PRODUCT:
            failures += 1
            print("the checkout itself was changed")
    return 1 if failures else 0


sys.exit(main())
