"""Replaces the entry points of pip and uv, so that code can install packages although it reaches no index.

- The server handles commands that install or remove packages of the index. It follows its operator's policy, and
  installs as it does for callers.
- The real program handles commands that need no index: lists, and files of the sandbox.
- Options that change the source of packages are refused. If the session has network access of its own, the real
  program uses that instead.

This module protects nothing: the server checks every request.
"""

import os
import sys

SOCKET = "/run/cellhold/packages"
MAX_REQUEST = 256 << 10  # bytes
UV = "/usr/local/lib/cellhold/uv"
REAL = "CELLHOLD_PIP"  # variable that is set while the real pip runs, because pip starts itself for builds

# Options without an effect here. Those in VALUED take a value.
PLAIN = set("""-q --quiet -v --verbose -y --yes --user --no-cache-dir --no-cache -n --disable-pip-version-check
    --break-system-packages --no-input --no-color --no-warn-script-location --no-warn-conflicts --prefer-binary
    --no-build-isolation --compile --no-compile --compile-bytecode --isolated --system --no-progress --no-config
    --native-tls --strict --no-python-version-warning --check-build-dependencies""".split())
VALUED = set("""--root-user-action --progress-bar --timeout --default-timeout --retries --resume-retries
    --exists-action --log --cache-dir --only-binary --upgrade-strategy --trusted-host --use-feature
    --use-deprecated --link-mode --color --cert --proxy --keyring-provider""".split())
AGAIN = {"-I", "--ignore-installed", "--force-reinstall", "--reinstall"}  # ignored: installed versions that fit stay
# Options that change the packages to install, their source or their target.
ELSEWHERE = set("--no-index --pre --dry-run --all-extras --no-clean --offline --require-virtualenv".split())
ELSEWHERE_VALUED = set("""-i --index-url --extra-index-url --index --default-index -f --find-links -e --editable -t --target
    --prefix --root --src --platform --python-version --implementation --abi --no-binary -c --constraint
    --constraints -C --config-settings --config-setting --global-option --report --group -P --upgrade-package
    --reinstall-package --override --overrides --prerelease --resolution --exclude-newer --extra -b
    --uploaded-prior-to -p --python""".split())
NEEDS_INDEX = {"download", "wheel", "index", "search", "lock"}


class Refused(Exception):
    """The command is refused. The text has the reason, in sentences."""


class Asked:
    """The request of a command line."""

    def __init__(self):
        self.names, self.files, self.local, self.elsewhere, self.notes = [], [], [], [], []
        self.upgrade = self.alone = self.quiet = self.yes = self.help = self.hashes = False


def words(args):
    """Yields each option as (name, inline value or None), and each other word as (None, word). -qU is two options."""
    plain = False
    for arg in args:
        if plain or not arg.startswith("-") or arg == "-":
            yield None, arg
        elif arg == "--":
            plain = True
        elif arg.startswith("--"):
            name, equals, value = arg.partition("=")
            yield name, value if equals else None
        else:
            rest = arg[1:]
            while rest:
                name, rest = "-" + rest[0], rest[1:]
                if takes_value(name) and rest:
                    yield name, rest.removeprefix("=")
                    break
                yield name, None


def takes_value(name):
    return name in VALUED or name in ELSEWHERE_VALUED or name in ("-r", "--requirement", "--requirements")


def command_of(args):
    """Returns the name of the command, such as install, and the arguments without it."""
    skip = False
    for at, arg in enumerate(args):
        if skip:
            skip = False
        elif not arg.startswith("-"):
            return arg, args[:at] + args[at + 1:]
        else:
            skip = takes_value(arg) and "=" not in arg
    return "", args


def parse(args):
    """Reads the arguments of install or uninstall."""
    asked, waiting = Asked(), None
    for name, value in words(args):
        if waiting:
            name, value, waiting = waiting, value if name is None else name, None
        elif name and takes_value(name) and value is None:
            waiting = name
            continue
        take(asked, name, value)
    if waiting:
        raise Refused(f"{waiting} needs a value.")
    return asked


def take(asked, name, value):
    """Adds one option, or one other word, to the request."""
    if name is None:
        if is_local(value):
            asked.local.append(value)
        elif "://" in value or value.startswith("git+") or " @ " in value:
            asked.elsewhere.append(value)
        else:
            asked.names.append(value)
    elif name in ("-r", "--requirement", "--requirements"):
        asked.files.append(value)
    elif name in ("-e", "--editable") and is_local(value):
        asked.local.append(value)
    elif name in ("-U", "--upgrade"):
        asked.upgrade = True
    elif name == "--no-deps":
        asked.alone = True
    elif name == "--require-hashes":
        asked.hashes = True
    elif name in ("-h", "--help"):
        asked.help = True
    elif name in AGAIN:
        asked.notes.append(f"{name} is ignored: an installed version that fits stays.")
    elif name in ("-p", "--python") and value in (sys.executable, "python", "python3", "/usr/bin/python3", "3", "3.13"):
        pass
    elif name in ELSEWHERE or name in ELSEWHERE_VALUED:
        asked.elsewhere.append(name)
    elif name not in PLAIN and name not in VALUED:
        raise Refused(f"pip in this sandbox does not know the option {name}.")
    asked.quiet |= name in ("-q", "--quiet")
    asked.yes |= name in ("-y", "--yes")


def is_local(word):
    """Reports whether a word names a file or folder of the sandbox, by the rules of pip (bool)."""
    word = word.split("[")[0].removeprefix("file://")
    archive = word.endswith((".whl", ".tar.gz", ".zip", ".tar.bz2"))
    return word in (".", "..") or (os.sep in word or archive) and "://" not in word and os.path.exists(os.path.expanduser(word))


def read_files(files, depth=0):
    """Returns the lines of requirements files, and of the files that they name."""
    lines = []
    for file in files:
        try:
            with open(file, encoding="utf-8-sig") as opened:
                text = opened.read(1 << 20)
        except (OSError, UnicodeError) as error:
            raise Refused(f"The requirements file {file} cannot be read: {error}.") from None
        for line in text.replace("\\\n", " ").splitlines():
            option, _, rest = line.strip().replace("=", " ", 1).partition(" ")
            if option in ("-r", "--requirement") and depth < 5:
                lines += read_files([os.path.join(os.path.dirname(file), rest.strip())], depth + 1)
            elif option not in ("--prefer-binary", "--only-binary"):
                lines.append(line)
    return lines


def has_network():
    """Reports whether the session has network access of its own (bool)."""
    return any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))


def ask(request, quiet=True):
    """Sends a request (dict) to the server, prints its progress, and returns its last answer (dict)."""
    import json
    import socket
    line = json.dumps(request).encode() + b"\n"
    if len(line) > MAX_REQUEST:
        raise Refused(f"The request has {len(line)} bytes; the limit is {MAX_REQUEST} bytes. Install the packages in several steps.")
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(SOCKET)
            s.sendall(line)
            for answer in s.makefile("rb"):
                answer = json.loads(answer)
                if answer.get("done") is not None:
                    return answer["done"]
                if answer.get("say") and not quiet:
                    print(answer["say"], flush=True)
    except FileNotFoundError:
        raise Refused(f"This sandbox cannot ask the server for packages: {SOCKET} does not exist.") from None
    except (OSError, ValueError) as error:
        raise Refused(f"The server could not be asked for packages: {error}.") from None
    raise Refused("The server closed the connection before it had finished. Run the command again.")


def install(asked):
    """Asks the server to install packages; returns its last answer."""
    request = {"requirements": asked.names, "upgrade": asked.upgrade, "alone": asked.alone}
    lines = read_files(asked.files)
    if asked.hashes:
        lines.append("--require-hashes")
    if lines:
        request["file"] = "\n".join(lines) + "\n"
    if not asked.names and not lines:
        raise Refused('You must give at least one requirement to install (see "pip help install").')
    if not asked.quiet:
        print("Asking the server to install", ", ".join(asked.names + asked.files), flush=True)
    return ask(request, asked.quiet)


def remove(asked):
    """Asks the server to remove packages; returns its last answer."""
    if not asked.yes:
        raise Refused("Nobody can answer a question here. Use pip uninstall -y to remove the packages.")
    names = asked.names + [line.split("#")[0].split("=")[0].strip() for line in read_files(asked.files)]
    names = [name for name in names if name]
    if not names:
        raise Refused('You must give at least one requirement to uninstall (see "pip help uninstall").')
    return ask({"remove": names})


def in_home(names):
    """Reports whether all packages are in the user's home, where the real pip has put them (bool)."""
    from importlib import metadata
    try:
        return bool(names) and all(os.access(metadata.distribution(n).locate_file(""), os.W_OK) for n in names)
    except metadata.PackageNotFoundError:
        return False


def serve(program, args, real):
    """Runs a command line, or passes its arguments to real, a function; returns the exit status."""
    command, rest = command_of(args)
    if os.environ.get(REAL):
        return real(args)
    if command in NEEDS_INDEX or command == "list" and {"-o", "--outdated", "-u", "--uptodate"} & set(rest):
        if has_network():
            return real(args)
        raise Refused(f"{program} {command} needs a package index, which code in this session cannot reach. Use {program} install: it works through the server.")
    if command not in ("install", "uninstall"):
        return real(args)
    asked = parse(rest)
    if asked.help or "--no-index" in asked.elsewhere:  # the real program needs no index for these
        return real(args)
    if command == "uninstall":
        return real(args) if in_home(asked.names) else show(asked, remove(asked))
    if asked.local:
        return install_local(asked, args, real)
    if asked.elsewhere:
        if has_network():
            print("Note: this uses the session's own network access. The server neither checks nor records it.", file=sys.stderr, flush=True)
            return real(args)
        raise Refused(f"{', '.join(asked.elsewhere)} cannot be used here. Packages come from the server's index: give their names only.")
    done = install(asked)
    if done.get("denied") and has_network():
        print(f"Note: {done.get('error')} Trying the session's own network access.", file=sys.stderr, flush=True)
        return real(args)
    return show(asked, done)


def install_local(asked, args, real):
    """Installs files of the sandbox with the real program, without an index."""
    if asked.names or asked.files or asked.elsewhere:
        raise Refused("Files of this sandbox and packages of the index cannot be installed by one command. Use two commands.")
    at = args.index("install") + 1
    status = real(args[:at] + ["--no-index", "--no-build-isolation"] + args[at:])
    if not status and "ipykernel" not in sys.modules:
        print("Note: if this is the first package in your home, a running kernel finds it only after a restart.")
    return status


def show(asked, done):
    """Prints the result of a request; returns the exit status."""
    for line in done.get("lines") or []:
        if not asked.quiet or line.startswith("Note:"):
            print(line)
    for note in asked.notes:
        print("Note:", note)
    sys.stdout.flush()
    if done.get("error"):
        raise Refused(done["error"])
    return 0


def serve_or_refuse(program, args, real):
    """Calls serve, and prints refusals as pip prints errors; returns the exit status."""
    try:
        return serve(program, args, real)
    except Refused as error:
        sys.stdout.flush()
        print(f"ERROR: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("ERROR: Interrupted. The server still finishes the work that it has begun.", file=sys.stderr, flush=True)
        return 130


def wrap_main(main):
    """Returns a main function for pip that calls serve, which can call the real main function."""
    def wrapped(args, **options):
        def real(args):
            os.environ[REAL] = "real"
            if not has_network():
                os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            try:
                return main(args, **options)
            finally:
                os.environ.pop(REAL, None)
        return serve_or_refuse("pip", list(sys.argv[1:] if args is None else args), real)
    return wrapped


def uv(args):
    """Runs uv pip; the uv script runs all other commands of uv."""
    def real(_):
        if not has_network():
            os.environ.setdefault("UV_OFFLINE", "1")
        os.execv(UV, ["uv", *args])
    at = args.index("pip")
    rest = args[at + 1:]
    if "uninstall" in rest[:1]:
        rest.append("-y")  # uv never asks
    return serve_or_refuse("uv pip", args[:at] + rest, real)


if __name__ == "__main__":
    sys.exit(uv(sys.argv[1:]))
