package e2e

import (
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

func TestProgressBarsAreTextWithoutAWarning(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, code := range []string{
		"from tqdm.notebook import tqdm\nfor i in tqdm(range(3), desc='work', ncols='80%'): pass",
		"from tqdm.notebook import trange\nfor i in trange(3, desc='work', display=False): pass",
		"from tqdm.auto import tqdm\nfor i in tqdm(range(3), desc='work'): pass",
		"from tqdm.autonotebook import tqdm\nfor i in tqdm(range(3), desc='work'): pass",
		"from tqdm.notebook import tqdm\nwith tqdm(total=3, desc='work') as bar:\n    bar.update(3); bar.set_postfix(a=1)",
		"import pandas as pd\nfrom tqdm.auto import tqdm\ntqdm.pandas(desc='work')\npd.Series([1, 2]).progress_apply(abs);",
	} {
		c := s.run(t, id, "import warnings; warnings.simplefilter('always')\n"+code)
		got := text(c)
		if c.Status != cellhold.StatusOK || !strings.Contains(got, "work: 100%") || strings.Contains(got, "IProgress") || strings.Contains(got, "Warning") {
			t.Errorf("%s\nended with %s and %s, want ok and \"work: 100%%\" without a warning", code, c.Status, got)
		}
	}
}

// The wheel is a substitute with the parts of ipywidgets that tqdm uses. The real package has a hundred files.
func TestProgressBarsAreWidgetsWithIpywidgets(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	got := s.must(t, id, `
import sys, types
class Widget:
    def __init__(self, **kw): self.__dict__.update(kw); self.value = 0; self.layout = types.SimpleNamespace(); self.style = types.SimpleNamespace()
sys.modules["ipywidgets"] = types.ModuleType("ipywidgets")
sys.modules["ipywidgets"].__dict__.update(HTML=Widget, FloatProgress=Widget, HBox=Widget)
import warnings
from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook
bar = tqdm(range(3), desc="work", display=False)
print(isinstance(bar, tqdm_notebook), bar.container.children[1].max)`)
	if strings.TrimSpace(got) != "True 3" {
		t.Errorf("the cell returns %q, want True 3", got)
	}
}

func TestTheImageHasCommonLocalesFontsAndStyles(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for name, code := range map[string]string{
		"locales": `import locale
for name in ["de_DE.UTF-8", "de_DE", "fr_FR.utf8", "en_US.UTF-8", "en_GB", "es_ES", "ja_JP", "zh_CN.UTF-8"]:
    locale.setlocale(locale.LC_ALL, name)
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
assert f"{1234567.5:n}" == "1.234.567,5" or f"{1234567:n}" == "1.234.567"
import datetime; assert datetime.date(2024, 3, 4).strftime("%A, %B") == "Montag, März"
locale.setlocale(locale.LC_ALL, ""); assert locale.setlocale(locale.LC_ALL) == "C.UTF-8"`,
		"fonts": `import warnings; warnings.simplefilter("error")
import io, logging; log = io.StringIO(); logging.getLogger("matplotlib").addHandler(logging.StreamHandler(log))
import matplotlib.pyplot as plt
for font in ["Arial", "Helvetica", "Times", "Times New Roman", "Courier", "Courier New", "SimHei", "Microsoft YaHei", "Verdana", "Calibri", "Noto Sans CJK JP", "Comic Sans MS"]:
    plt.rcParams["font.family"] = font
    f, a = plt.subplots(); a.set_title("größe 中文 日本語", weight="bold"); f.savefig(io.BytesIO()); plt.close(f)
assert not log.getvalue(), log.getvalue()
from PIL import ImageFont; ImageFont.truetype("arial.ttf", 12); ImageFont.truetype("simhei.ttf", 12)`,
		"styles": `import warnings; warnings.simplefilter("error")
import matplotlib.pyplot as plt
for style in ["seaborn", "seaborn-whitegrid", "seaborn-darkgrid", "seaborn-talk", "seaborn-v0_8-paper", ["seaborn-white", "seaborn-muted"], "ggplot"]:
    with plt.style.context(style): pass
plt.style.use("seaborn-whitegrid"); assert plt.rcParams["axes.grid"]`,
	} {
		t.Run(name, func(t *testing.T) {
			if c := s.run(t, id, code); c.Status != cellhold.StatusOK {
				t.Errorf("the cell ended with %s and %s, want ok", c.Status, text(c))
			}
		})
	}
}

func TestRHasCommonDataPackages(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{Image: "polyglot"}) // if the image is missing, run: make polyglot
	if _, err := s.AddKernel(t.Context(), id, "ir", ""); err != nil {
		t.Fatal(err)
	}
	c := s.runOn(t, id, "ir", `
suppressPackageStartupMessages({ library(dplyr); library(tidyr); library(readr); library(data.table); library(jsonlite) })
write_csv(data.frame(a = c(1, 1, 2), b = 1:3), "x.csv")
cat(data.table::fread("x.csv")[, sum(b)], toJSON(1:2), "\n")
read_csv("x.csv", show_col_types = FALSE) |> group_by(a) |> summarise(total = sum(b))`)
	if c.Status != cellhold.StatusOK || !strings.Contains(text(c), "6 [1,2]") || outputsOf(c, "text/html") != 1 {
		t.Errorf("the cell ended with %s and %s, want ok, \"6 [1,2]\" and a table", c.Status, text(c))
	}
}
