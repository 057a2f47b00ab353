

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
