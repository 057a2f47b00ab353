package kernelproxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// RuntimeDir returns the folder in which Jupyter's programs look for connection files. getenv returns a variable of the
// environment. The rules are those of jupyter_core.
func RuntimeDir(getenv func(string) string) (string, error) {
	if dir := getenv("JUPYTER_RUNTIME_DIR"); dir != "" {
		return dir, nil
	}
	if dir := getenv("JUPYTER_DATA_DIR"); dir != "" {
		return filepath.Join(dir, "runtime"), nil
	}
	if dir := getenv("XDG_DATA_HOME"); dir != "" && runtime.GOOS != "darwin" {
		return filepath.Join(dir, "jupyter", "runtime"), nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", fmt.Errorf("the folder of Jupyter is unknown, because HOME is not set: give a path with --file")
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Jupyter", "runtime"), nil
	}
	return filepath.Join(home, ".local", "share", "jupyter", "runtime"), nil
}

// connection is the content of a connection file.
type connection struct {
	Transport string `json:"transport"`
	IP        string `json:"ip"`
	Shell     int    `json:"shell_port"`
	IOPub     int    `json:"iopub_port"`
	Stdin     int    `json:"stdin_port"`
	Control   int    `json:"control_port"`
	Heartbeat int    `json:"hb_port"`
	Scheme    string `json:"signature_scheme"`
	Key       string `json:"key"`
	Kernel    string `json:"kernel_name"`
}

func (p *Proxy) info() connection {
	at := func(name string) int { return p.ports[name].number() }
	return connection{Transport: "tcp", IP: address, Shell: at(shell), IOPub: at(iopub), Stdin: at(stdin), Control: at(control), Heartbeat: at(heartbeat),
		Scheme: "hmac-sha256", Key: p.key, Kernel: p.o.Kernel.Spec}
}

// file is a connection file. The zero value is none.
type file struct {
	path string
	text []byte // with the key, so no other file has it
}

// writeFile writes a connection file that only its owner can read. It has the key, with which programs run code.
func writeFile(path string, c connection) (file, error) {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return file{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return file{}, fmt.Errorf("connection file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // never the file of another program, or a link to one
	if err != nil {
		return file{}, fmt.Errorf("connection file: %w. Remove the file if no command uses it, or give another path with --file", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
		return file{}, fmt.Errorf("connection file: %w", err)
	}
	return file{path, text}, nil
}

// remove removes the file, unless another file has taken its place. It can be called twice.
func (f file) remove() {
	if f.text == nil {
		return
	}
	if now, err := os.ReadFile(f.path); err == nil && bytes.Equal(now, f.text) {
		_ = os.Remove(f.path)
	}
}
