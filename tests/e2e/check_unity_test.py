"""scripts/check-unity finds each kind of name that two files of a target have, and lets everything else pass."""
import pathlib
import subprocess
import sys
import tempfile

CHECK = pathlib.Path(__file__).parent.parent.parent / "scripts" / "check-unity"


def anonymous(text):
    return "namespace vaultfs {\nnamespace {\n\n" + text + "\n}  // namespace\n}  // namespace vaultfs\n"


# What the first file has in its anonymous namespace, the second in its own, the name that must be refused (or None).
CASES = [
    ("constexpr int kLimit = 1;", "constexpr int kLimit = 2;", "kLimit"),
    ("constexpr std::array<int, 2> kPair{1, 2};", "const std::string kPair = x();", "kPair"),
    ("inline constexpr char kText[] = \"a\";", "constexpr char kText[] = \"b\";", "kText"),
    ("bool fits(int a) { return a > 0; }", "bool fits(int a) {\n  return a < 0;\n}", "fits"),
    # Other parameters are an overload, which no compiler stops.
    ("bool fits(int a) { return a > 0; }", "bool fits(const std::string& a) { return a.empty(); }", "fits"),
    ("Result<std::vector<Bytes>> parts_of(ByteView bytes) {", "[[nodiscard]] Status parts_of(int n) {", "parts_of"),
    ("template <typename T> T least(T a) {", "int* least(int* a) {", "least"),
    ("class Reader final : public Base {", "struct Reader {", "Reader"),
    ("enum class Kind { a };", "using Kind = int;", "Kind"),
    ("int one() { return 1; }", "int two() { return 2; }", None),
    # Members, locals and what is inside a function are no names of the namespace.
    ("struct One {\n  int size() { return 1; }\n};", "struct Two {\n  int size() { return 1; }\n};", None),
    ("int one() {\n  const int x = 1;\n  return x;\n}", "int two() {\n  const int x = 2;\n  return x;\n}", None),
    ("TEST(A, One) {}", "TEST(A, Two) {}", None),
    ("TEST_F(A, One) {\n}", "TEST_F(A, Two) {\n}", None),
    ("// fits(int) is elsewhere", "bool fits(int a) { return a > 0; }", None),
]
FIRST = "bool fits(int a) { return a > 0; }"
# Where the two files lie, whether they are of one target.
PLACES = [
    ("base/a.cc", "base/b.cc", True),
    ("crypto/a.cc", "crypto/b.cc", True),
    ("crypto/a.cc", "crypto/keyvault/b.cc", False),
    ("crypto/keyvault/a.cc", "crypto/keyvault/b.cc", True),
    ("store/a.cc", "store/b.cc", True),
    ("store/a.cc", "vaultmeta/a.cc", False),
    ("vaultmeta/a.cc", "vaultmeta/b.cc", True),
    ("fs/a.cc", "fs/mount/a.cc", False),
    ("fs/mount/a.cc", "fs/mount/b.cc", True),
    ("tools/vaultctl/a.cc", "tools/vaultctl/key/b.cc", True),
    ("tools/vaultctl/a.cc", "tools/control/a.cc", False),
    ("tests/store/a_test.cc", "tests/store/b_test.cc", True),
    ("tests/crypto/keyvault/a_test.cc", "tests/crypto/keyvault/b_test.cc", True),
    ("tests/crypto/keyvault/a_test.cc", "tests/crypto/keyvault/b_module.cc", False),
    ("tests/store/a_test.cc", "tests/fs/a_test.cc", False),
    ("tests/support/a.cc", "tests/support/b.cc", True),
]

wrong = []


def check(files, refused):
    """`refused`: nothing, or what must be named in the answer."""
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            file = pathlib.Path(directory) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        result = subprocess.run([sys.executable, CHECK, directory], capture_output=True, text=True)
        named = refused is None or all(part in result.stdout for part in [f"{refused} stands in", *files])
        if (result.returncode != 0) != (refused is not None) or not named:
            wrong.append(f"{files}: exit code {result.returncode}: {result.stdout}{result.stderr}")


for first, second, refused in CASES:
    check({"store/a.cc": anonymous(first), "store/b.cc": anonymous(second)}, refused)
for first, second, same_target in PLACES:
    check({first: anonymous(FIRST), second: anonymous(FIRST)}, "fits" if same_target else None)
# Outside an anonymous namespace a name is the linker's to refuse; twice in one file it is an overload that is meant.
check({"store/a.cc": anonymous("") + FIRST + "\n", "store/b.cc": anonymous("") + FIRST + "\n"}, None)
check({"store/a.cc": anonymous(FIRST + "\nbool fits(char a) { return a > 0; }")}, None)
with tempfile.TemporaryDirectory() as directory:
    if subprocess.run([sys.executable, CHECK, directory], capture_output=True).returncode == 0:
        wrong.append("an empty directory passes")
if wrong:
    sys.exit("\n".join(wrong))
