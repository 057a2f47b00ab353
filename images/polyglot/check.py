

# These are the checks of this recipe. The checks of its base ran above.
R_PACKAGES = """
options(warn = 2)
suppressPackageStartupMessages({
  library(IRkernel); library(ggplot2); library(dplyr); library(tidyr); library(readr); library(stringr)
  library(lubridate, warn.conflicts = FALSE); library(forcats); library(purrr); library(tibble); library(readxl)
  library(jsonlite, warn.conflicts = FALSE); library(data.table, warn.conflicts = FALSE)
})
frame <- read_csv(I("a,b\n1,2\n1,4\n"), show_col_types = FALSE)
stopifnot(identical((frame |> group_by(a) |> summarise(b = sum(b)))$b, 6))
stopifnot(nrow(pivot_longer(frame, c(a, b))) == 4, data.table(frame)[, sum(b), by = a]$V1 == 6)
stopifnot(fromJSON(toJSON(frame))$b == c(2, 4), year(ymd("2024-03-04")) == 2024, str_to_upper("größe") == "GRÖSSE")
"""


def check_more_kernels():
    from jupyter_client.kernelspec import KernelSpecManager
    for name, tool in [("ir", "R"), ("javascript", "node")]:
        spec = KernelSpecManager().get_kernel_spec(name)
        assert os.access(spec.argv[0], os.X_OK), f"kernelspec {name} names {spec.argv[0]}"
        subprocess.run([tool, "--version"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["Rscript", "-e", R_PACKAGES], check=True)
    subprocess.run(["node", "-e", "require('tslab'); require('zeromq')"], check=True,
                   cwd="/usr/local/lib/javascript-kernel")


check_more_kernels()

# A program of each compiled language: the name of its file, its text, and the commands that compile and run it.
PROGRAMS = [
    ("a.c", "#include <math.h>\n#include <stdio.h>\nint main(int n, char **v) { printf(\"%g\\n\", sqrt(n + 48)); }",
     "gcc -O2 -o a-c a.c -lm && ./a-c"),
    ("a.cpp", "#include <bits/stdc++.h>\nint main() { std::map<int, int> m{{1, 7}}; std::cout << m[1] << std::endl; }",
     "g++ -std=c++20 -O2 -o a-cpp a.cpp && ./a-cpp"),
    # With -v, go names the packages that it compiles. Those of the standard library are compiled in the image.
    ("a.go", "package main\nimport (\"fmt\"; \"net/http\"; \"encoding/json\")\nfunc main() { fmt.Println(len(http.MethodOptions)); _ = json.Valid }",
     "test \"$(go build -v -o a-go a.go 2>&1)\" = command-line-arguments && ./a-go"),
    ("a.rs", "fn main() { println!(\"{}\", std::collections::HashMap::from([(1, 7)])[&1]); }",
     "rustc -O --edition 2021 -o a-rs a.rs && ./a-rs"),
    ("Main.java", "import java.util.*; public class Main { public static void main(String[] a) { System.out.println(List.of(1, 7).get(1)); } }",
     "javac -d . Main.java && java Main"),
    ("a.ts", "import * as fs from 'fs'; const n: number = fs.readFileSync('/dev/null').length + 7; console.log(n);",
     "tsc --skipLibCheck --outDir ts a.ts && node ts/a.js"),
]


def check_compilers():
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        for name, text, line in PROGRAMS:
            with open(os.path.join(folder, name), "w") as f:
                f.write(text)
            got = subprocess.run(["sh", "-c", line], cwd=folder, stdout=subprocess.PIPE).stdout
            assert got == b"7\n", f"{line}: printed {got!r}"


check_compilers()
