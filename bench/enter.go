package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cellhold/bench/contender"
	"cellhold/bench/report"
)

// listContenders lists the contenders. It starts none of them.
func (b *bench) listContenders() {
	add := func(key, name, what string, start func() (contender.Contender, error)) {
		e := &entry{name: name, key: key, start: start, slow: name == report.LLM} // each container takes ten seconds to end
		if len(b.o.with) > 0 && !slices.Contains(b.o.with, key) {
			e.start = func() (contender.Contender, error) { return nil, errors.New("not selected") }
		}
		b.entries = append(b.entries, e)
		b.report.Contenders = append(b.report.Contenders, report.Contender{Name: name, What: what})
	}
	add("warm", report.Warm, fmt.Sprintf("`cellhold serve --warm %d`; sessions use the warm sandboxes.", b.o.warm), b.cellhold(b.o.warm, false))
	add("restore", report.Restore, "`cellhold serve --warm 0`; no sandbox is warm; sessions are restored from the template's snapshot.", b.cellhold(0, false))
	add("cold", report.Cold, "`cellhold serve --no-templates`; sessions start a kernel in a new sandbox.", b.cellhold(0, true))
	add("bare", report.Bare, "ipykernel on the host, a process for each session, started and used by jupyter_client. No isolation.", b.driver("bare.py"))
	add("raw", report.BareRaw, "the same ipykernel, used by a raw ZeroMQ client (bench/inside/raw_client.py) over sockets of the file system.", b.driver("raw.py"))
	add("article", report.Article, "FastAPI and jupyter_client on the host, bench/baseline. pandas, numpy and matplotlib are imported in each new session. No isolation.", b.baseline)
	add("gateway", report.Gateway, "one gateway on the host, whose kernels are used over its WebSocket. No isolation.", b.driver("gateway.py"))
	add("llm", report.LLM, "its interactive session: a Docker container for each session, with cellhold's image.", b.llm)
}

func (b *bench) cellhold(warm int, cold bool) func() (contender.Contender, error) {
	return func() (contender.Contender, error) {
		return contender.StartCellhold(contender.CellholdOptions{
			Program: b.o.program, Images: filepath.Join(b.o.home, "images"), Temp: b.temp, Warm: warm, Cold: cold,
		})
	}
}

// pythonSide returns the environment of the Python contenders. It has no settings of the user except DOCKER_*, with which
// Docker's client finds its engine.
func (b *bench) pythonSide() (contender.Python, error) {
	if _, err := os.Stat(b.o.python); err != nil {
		return contender.Python{}, fmt.Errorf("the venv of bench/requirements.txt does not exist: %w", err)
	}
	dir := filepath.Join(b.temp, "python")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return contender.Python{}, err
	}
	env := []string{"PATH=" + filepath.Dir(b.o.python) + ":" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "DOCKER_") {
			env = append(env, v)
		}
	}
	return contender.Python{Program: b.o.python, Env: env, Dir: dir}, nil
}

func (b *bench) driver(script string, args ...string) func() (contender.Contender, error) {
	return func() (contender.Contender, error) {
		p, err := b.pythonSide()
		if err != nil {
			return nil, err
		}
		return contender.StartDriver(p, filepath.Join(b.o.sources, "drivers", script), args...)
	}
}

func (b *bench) baseline() (contender.Contender, error) {
	p, err := b.pythonSide()
	if err != nil {
		return nil, err
	}
	return contender.StartBaseline(p, filepath.Join(b.o.sources, "baseline"))
}

// llm starts llm-sandbox if a Docker engine answers.
func (b *bench) llm() (contender.Contender, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // a running engine answers at once
	defer cancel()
	if err := exec.CommandContext(ctx, "docker", "info").Run(); err != nil {
		return nil, fmt.Errorf("no Docker engine: docker info: %w", err)
	}
	return b.driver("llm.py", b.o.image)()
}
