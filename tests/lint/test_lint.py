"""The lints can fail: each rule is broken once in a small tree made for it, and named."""
import os
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent
README = {f"{folder}/README.md": "what lives here\n"
          for folder in ("server", "client-agent", "shared", "schema", "tests", "deploy")}
FINE = {"Makefile": "all:\n\ttrue\n", "README.md": "# A tree\n", "LICENSE": "ISC\n", **README}
MODULES = ("base", "mail", "crypto", "smtp", "queue", "path", "net", "store", "config")


def make_tree(top, files):
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def lint(name, *arguments):
    done = subprocess.run([HERE / name, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


# ---- manual pages

@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
@pytest.mark.parametrize("page", sorted((HERE / "../../deploy/man").resolve().glob("*.[158]")), ids=lambda page: page.name)
def test_manual_pages_are_clean(page):
    done = subprocess.run(["mandoc", "-Tlint", page.name], cwd=page.parent, capture_output=True, text=True, check=False)
    # Whether the manuals referred to are installed is the machine's affair.
    complaints = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]
    assert not complaints, "\n".join(complaints)


# ---- style

def style(tmp_path, files):
    make_tree(tmp_path, {**FINE, **files})
    return lint("style", tmp_path)


def test_style_accepts_a_fine_tree(tmp_path):
    text = "/* strcpy(a) and sprintf( in comments are words */\nint f(int a)\n{\n    return a;\n}\n"
    code, output = style(tmp_path, {"server/main.c": text, ".gitignore": "/build/\n", "tests/fuzz/corpus/x/1": "a\t\r\n "})
    assert code == 0, output
    assert "1 functions" in output


@pytest.mark.parametrize("name, text, complaint", [
    ("server/main.c", "int f(void)\n{\n\treturn 1;\n}\n", "main.c:3: a tab"),
    ("server/main.c", "int x; \n", "main.c:1: white space at the end"),
    ("server/main.c", "int x;\r\n", "main.c:1: a carriage return"),
    ("server/main.c", "int x;", "main.c: no line feed"),
    ("server/main.c", "int x;\n\n", "main.c: empty lines"),
    ("server/main.c", "/* TO" "DO: more */\n", "main.c:1: a marker"),
    ("schema/link.md", "FIX" "ME\n", "link.md:1: a marker"),
    ("server/main.c", "void f(char *a)\n{\n    strcpy(a, \"x\");\n}\n", "main.c:3: strcpy"),
    ("tests/unit/a.c", "void f(char *a)\n{\n    sprintf (a, \"x\");\n}\n", "a.c:3: sprintf"),
    ("server/main.c", "int f(char *a)\n{\n    return atoi(a);\n}\n", "main.c:3: atoi"),
    ("shared/net/a.c", "void f(void)\n{\n    system(\"x\");\n}\n", "a.c:3: system"),
    ("server/main.c", "int x;\n" * 701, "main.c: 701 lines"),
    ("server/main.c", "int f(void)\n{\n" + "    g();\n" * 101 + "}\n", "f has 101 lines"),
    ("docs/a.md", "a\n", "docs: the top level is fixed"),
    ("notes.txt", "a\n", "notes.txt: the top level is fixed"),
], ids=lambda value: value[:20].replace("\n", " "))
def test_style_names_what_is_wrong(tmp_path, name, text, complaint):
    code, output = style(tmp_path, {name: text})
    assert code == 1 and complaint in output, output


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "Makefile", "shared/README.md", "schema/README.md"])
def test_style_misses_files(tmp_path, name):
    make_tree(tmp_path, {**FINE, "shared/base/a.h": "int x;\n", "schema/a.sql": "--\n"})
    os.remove(tmp_path / name)
    code, output = lint("style", tmp_path)
    assert code == 1 and f"{name} is missing" in output, output


def test_style_functions_may_be_a_hundred_lines(tmp_path):
    code, output = style(tmp_path, {"server/main.c": "int f(void)\n{\n" + "    g();\n" * 100 + "}\n"})
    assert code == 0 and "the longest has 100 (f in server/main.c)" in output, output


# ---- layers

COMPILERS = {
    "fortified": ["gcc", "-O2", "-D_FORTIFY_SOURCE=3", "-fstack-protector-strong"],
    "plain": ["gcc", "-O0"],
    "clang": ["clang", "-O2"],
    "sanitized": ["clang", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "fuzzed": ["clang", "-O1", "-fsanitize=address,undefined,fuzzer-no-link"],
    "covered": ["gcc", "-O0", "--coverage"],
}

PURE_CODE = """#include "base/a.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <assert.h>
char *f(const char *a, size_t n);
char *f(const char *a, size_t n)
{
    char text[100], other[50];
    assert(n > 0);
    snprintf(text, sizeof text, "%s %zu", a, base_a());
    memcpy(other, a, n);
    char *b = malloc(n);
    if (b != NULL && memcmp(text, other, 9) == 0)
        memset(b, other[n], n);
    return b;
}
"""


def layers(tmp_path, files, compiler="plain"):
    base = {"shared/base/a.h": "#include <stddef.h>\nsize_t base_a(void);\n",
            "shared/base/a.c": '#include "base/a.h"\nsize_t base_a(void) { return 7; }\n',
            "shared/smtp/b.h": '#include "base/a.h"\n'}
    make_tree(tmp_path, {**base, **files})
    for source in [path for path in tmp_path.glob("shared/*/*.c") if path.parent.name in MODULES]:
        where = tmp_path / "build/obj" / source.relative_to(tmp_path).with_suffix(".o")
        where.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*COMPILERS[compiler], "-w", "-Wno-implicit-function-declaration", "-D_GNU_SOURCE",
                        f"-I{tmp_path}/shared", "-fPIE", "-c", "-o", where, source], check=True)
    return lint("layers", tmp_path / "build", tmp_path)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_layers_accepts_a_pure_core(tmp_path, compiler):
    code, output = layers(tmp_path, {"shared/smtp/c.c": PURE_CODE}, compiler)
    assert code == 0, output


IMPURE_CALLS = {
    "socket": "socket(n, n, n)", "recv": "recv(n, 0, n, n)", "close": "close(n)", "open": 'open("x", n)',
    "time": "time(0)", "clock_gettime": "clock_gettime(n, 0)", "getrandom": "getrandom(0, n, n)",
    "printf": 'printf("%d", n)', "fopen": 'fopen("x", "r")', "getenv": 'getenv("x")', "strndup": 'strndup("x", n)',
    "pthread_create": "pthread_create(0, 0, 0, 0)", "uv_now": "uv_now(0)", "sodium_init": "sodium_init()",
}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_layers_names_the_impure_calls(tmp_path, compiler):
    text = "".join(f"long f_{name}(int n) {{ return (long){call}; }}\n" for name, call in IMPURE_CALLS.items())
    code, output = layers(tmp_path, {"shared/smtp/c.c": text}, compiler)
    assert code == 1, output
    named = {line.split(":")[2].split()[1] for line in output.splitlines() if "smtp/c.o: uses " in line}
    bare = {name.strip("_").removesuffix("_chk").removesuffix("_2") for name in named}
    assert bare == set(IMPURE_CALLS), output


def test_layers_lets_crypto_use_libsodium(tmp_path):
    text = "#include <sodium.h>\nint f(void) { return sodium_init(); }\n"
    code, output = layers(tmp_path, {"shared/crypto/c.c": text})
    assert code == 0, output


def test_layers_finds_a_call_upward_without_an_include(tmp_path):
    code, output = layers(tmp_path, {"shared/mail/c.c": "int up(void);\nint f(void) { return up(); }\n",
                                     "shared/smtp/d.c": "int up(void) { return 1; }\n"})
    assert code == 1 and "mail/c.o: uses up: it belongs to shared/smtp" in output, output


@pytest.mark.parametrize("name, header, complaint", [
    ("shared/base/c.h", '"smtp/b.h"', "upward"),
    ("shared/queue/c.h", '"smtp/b.h"', "sideways"),
    ("shared/store/c.h", '"net/b.h"', "sideways"),
    ("shared/net/c.h", '"mta/b.h"', "sideways"),
    ("shared/net/c.h", '"server/b.h"', "upward"),
    ("server/c.h", '"client-agent/b.h"', "sideways"),
    ("client-agent/c.h", '"server/b.h"', "sideways"),
    ("server/c.h", '"../client-agent/b.h"', "no paths with .."),
    ("shared/net/c.h", '"support/guard.h"', "not a header of any layer"),
    ("shared/smtp/c.h", "<uv.h>", "only ISO C"),
    ("shared/smtp/c.h", "<sodium.h>", "only ISO C"),
    ("shared/base/c.h", "<sys/socket.h>", "only ISO C"),
    ("shared/ftp/c.h", '"base/a.h"', "not in a module"),
])
def test_layers_names_the_wrong_include(tmp_path, name, header, complaint):
    code, output = layers(tmp_path, {name: f"/* one */\n#include {header}\n"})
    assert code == 1 and f"{name}:" in output and complaint in output, output


@pytest.mark.parametrize("name, header", [
    ("shared/smtp/c.h", '"b.h"'), ("shared/mta/c.h", '"net/c.h"'), ("shared/net/c.h", '"store/c.h"'), ("shared/net/c.h", "<uv.h>"),
    ("server/c.h", '"net/c.h"'), ("server/c.h", '"server.h"'), ("shared/store/c.h", '"schema.h"'),
])
def test_layers_accepts_the_right_include(tmp_path, name, header):
    code, output = layers(tmp_path, {name: f"#include {header}\n"})
    assert code == 0, output


def test_layers_wants_a_build(tmp_path):
    make_tree(tmp_path, {"shared/base/a.c": "int x;\n"})
    code, output = lint("layers", tmp_path / "build", tmp_path)
    assert code == 1 and "build first" in output, output
