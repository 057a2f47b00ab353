# %%
import os, subprocess, sys
kept = 42
# %%
!cat; echo status $?
# %%
!python3 -c "input('Your name? ')" 2>&1 | tail -1
# %%
!cat < /dev/tty; echo status $?
# %%
!python3 -c "import os, sys; print(sys.stdin.isatty(), sys.stdout.isatty(), os.get_terminal_size(1))"
# %%
assert subprocess.run(["cat"]).returncode == os.system("cat") == 0
# %%
x = !cat
assert x == []
# %%
%%bash
cat; read x; echo status $?
# %%
input("Your name? ")
# %%
assert kept == 42
