"""Where other people's tools are, and how they come there: a folder that is passed in, nothing global.

Packages of the host are only looked for; `apt.txt` names them, and who runs this installs them.
"""

import glob
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))


class Tools:
    """A folder with a Python environment, node_modules, and Exim unpacked."""

    def __init__(self, place, folder):
        self.place = os.path.abspath(place)
        self.folder = folder
        self.python = f"{self.place}/python/bin/python3"
        self.missing = frozenset(missing_packages())

    def node_script(self, name):
        """The scripts lie beside node_modules, since that is where modules are looked for."""
        return ["node", f"{self.place}/node/{name}"]

    def workplace(self, name):
        """A folder for one client's own files; other users may enter it, as Postfix and Exim are some."""
        path = f"{self.folder}/{name}"
        os.makedirs(path, exist_ok=True)
        return path

    def lacks(self, packages):
        """None, or a sentence."""
        absent = sorted(self.missing & set(packages))
        return f"the host lacks {', '.join(absent)}" if absent else None

    def install(self):
        """Brings what is not there yet; each part is done once for each content of its list."""
        os.makedirs(self.place, exist_ok=True)
        self.once("python", ["requirements.txt"], self.install_python)
        self.once("node", ["package.json", "package-lock.json"], self.install_node)
        self.once("exim", ["exim.txt"], self.install_exim)
        for script in glob.glob(f"{HERE}/scripts/*.mjs"):
            shutil.copy(script, f"{self.place}/node/")

    def once(self, name, lists, install):
        wanted = "".join(read(f"{HERE}/{one}") for one in lists)
        stamp = f"{self.place}/{name}.installed"
        if os.path.exists(stamp) and read(stamp) == wanted:
            return
        shutil.rmtree(f"{self.place}/{name}", ignore_errors=True)
        os.makedirs(f"{self.place}/{name}")
        install(f"{self.place}/{name}")
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(wanted)

    def install_python(self, place):
        call(["python3", "-m", "venv", place])
        call([f"{place}/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--requirement",
              f"{HERE}/requirements.txt"])

    def install_node(self, place):
        for name in ("package.json", "package-lock.json"):
            shutil.copy(f"{HERE}/{name}", place)
        call(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], place)

    def install_exim(self, place):
        """Unpacked, not installed: Debian would remove Postfix for it."""
        call(["apt-get", "download", "--quiet", *entries("exim.txt")], place)
        for package in glob.glob(f"{place}/*.deb"):
            call(["dpkg", "-x", package, place])


def missing_packages():
    for line in entries("apt.txt"):
        package, probe = line.split(": ", 1)
        silence = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if subprocess.run(["sh", "-c", probe], check=False, **silence).returncode != 0:
            yield package


def entries(name):
    """The lines of a list, without its remarks."""
    return [line for line in read(f"{HERE}/{name}").splitlines() if line and not line.startswith("#")]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def call(command, folder=None):
    ended = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"cannot install: {' '.join(command)}: {ended.stdout.decode()}")
