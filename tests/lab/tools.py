"""The lab's small C programs, built when they are first needed: NAME.c in this folder becomes build/lab/NAME."""
import os
import tempfile

from hosts import HERE

FOLDER = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(FOLDER))
OUT = os.path.join(TOP, "build", "lab")
FLAGS = ["-std=c17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]


def build(name, *flags):
    """Its path. Whoever builds at the same time does no harm: it appears whole."""
    source, made = os.path.join(FOLDER, f"{name}.c"), os.path.join(OUT, name)
    if not os.path.exists(made) or os.path.getmtime(made) < os.path.getmtime(source):
        os.makedirs(OUT, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=OUT) as folder:
            fresh = os.path.join(folder, name)
            HERE.run([os.environ.get("CC", "cc"), *FLAGS, *flags, "-o", fresh, source], within_s=120)
            os.rename(fresh, made)
    return made


def wire():
    return build("wire")


def boottime():
    return build("boottime", "-shared", "-fPIC")
