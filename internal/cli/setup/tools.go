package setup

import (
	"archive/zip"
	"bytes"
	"cellhold/internal/image"
	"cellhold/internal/lazy"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// toolSettings is the part of this machine's settings of uv and pip about package sources. uv installs the
// packages. If uv's settings name no main index, pip's main index is used. The further indexes of uv and pip are
// all used, and all other settings are pip's.
type toolSettings struct {
	main      string   // URL of the main index; empty if none is set
	extra     []string // indexes that are searched before the main one, as uv does
	authority string   // file of CA certificates
	offline   bool     // use only a folder, no index
	folder    string
	proxy     *url.URL
}

// readTools reads the settings from an environment, and from the configuration files of uv and pip.
func readTools(environ []string, read func(string) ([]byte, error)) toolSettings {
	env := map[string]string{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	pip := readPip(env, read)
	t := toolSettings{
		offline:   pip["no-index"] == "1" || strings.EqualFold(pip["no-index"], "true"),
		authority: pip["cert"],
	}
	if at, err := url.Parse(pip["proxy"]); err == nil && at.Host != "" {
		t.proxy = at
	}
	for _, at := range strings.Fields(pip["find-links"]) {
		if at = strings.TrimPrefix(at, "file://"); filepath.IsAbs(at) && t.folder == "" {
			t.folder = at
		}
	}
	if t.extra, t.main = readUv(env, read); t.main == "" {
		t.main = pip["index-url"]
	}
	t.extra = append(t.extra, strings.Fields(pip["extra-index-url"])...)
	return t
}

// readPip reads pip's settings in pip's order: the later file wins, and the environment wins over files.
func readPip(env map[string]string, read func(string) ([]byte, error)) map[string]string {
	home, own := env["HOME"], env["XDG_CONFIG_HOME"]
	if own == "" {
		own = filepath.Join(home, ".config")
	}
	files := []string{"/etc/xdg/pip/pip.conf", "/etc/pip.conf", filepath.Join(home, ".pip/pip.conf"), filepath.Join(own, "pip/pip.conf")}
	if at := env["PIP_CONFIG_FILE"]; at == os.DevNull {
		files = nil
	} else if at != "" {
		files = append(files, at)
	}
	settings := map[string]string{}
	for _, section := range []string{"global", "install"} {
		for _, file := range files {
			text, err := read(file)
			if err == nil {
				readINI(string(text), section, settings)
			}
		}
	}
	for name, value := range env {
		if name, ok := strings.CutPrefix(name, "PIP_"); ok && value != "" {
			settings[strings.ToLower(strings.ReplaceAll(name, "_", "-"))] = value
		}
	}
	return settings
}

// readINI reads one section of names and values. A line that begins with a space continues the value.
func readINI(text, section string, into map[string]string) {
	at, last := "", ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
		case trimmed[0] == '[':
			at, last = strings.Trim(trimmed, "[]"), ""
		case at != section:
		case (line[0] == ' ' || line[0] == '\t') && last != "":
			into[last] += " " + trimmed
		default:
			if i := strings.IndexAny(trimmed, "=:"); i > 0 {
				last = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(trimmed[:i]), "_", "-"))
				into[last] = strings.TrimSpace(trimmed[i+1:])
			}
		}
	}
}

// uvFile is the part of uv.toml about package sources.
type uvFile struct {
	IndexURL string   `toml:"index-url"`
	Extra    []string `toml:"extra-index-url"`
	Index    []struct {
		URL     string `toml:"url"`
		Default bool   `toml:"default"`
	} `toml:"index"`
	Pip struct {
		IndexURL string   `toml:"index-url"`
		Extra    []string `toml:"extra-index-url"`
	} `toml:"pip"`
}

// readUv returns the indexes of uv's settings.
func readUv(env map[string]string, read func(string) ([]byte, error)) (others []string, main string) {
	others = append(strings.Fields(env["UV_INDEX"]), strings.Fields(env["UV_EXTRA_INDEX_URL"])...)
	own := env["XDG_CONFIG_HOME"]
	if own == "" {
		own = filepath.Join(env["HOME"], ".config")
	}
	files := []string{filepath.Join(own, "uv/uv.toml"), "/etc/uv/uv.toml"}
	if at := env["UV_CONFIG_FILE"]; at != "" {
		files = []string{at}
	}
	for _, at := range []string{env["UV_DEFAULT_INDEX"], env["UV_INDEX_URL"]} {
		if main == "" {
			main = at
		}
	}
	for _, file := range files {
		text, err := read(file)
		var f uvFile
		if err != nil || toml.Unmarshal(text, &f) != nil {
			continue
		}
		for _, x := range f.Index {
			if x.Default && main == "" {
				main = x.URL
			} else if !x.Default {
				others = append(others, x.URL)
			}
		}
		others = append(append(others, f.Extra...), f.Pip.Extra...)
		for _, at := range []string{f.IndexURL, f.Pip.IndexURL} {
			if main == "" {
				main = at
			}
		}
	}
	for i, at := range others { // UV_INDEX can give indexes a name: NAME=URL
		if name, rest, ok := strings.Cut(at, "="); ok && !strings.Contains(name, ":") {
			others[i] = rest
		}
	}
	return others, main
}

// pipIndex finds the default index in pip's source.
var pipIndex = lazy.Regexp(`(?m)^PyPI\s*=\s*PackageIndex\(\s*"(https://[^"]+)"`)

const (
	pipModule = "pip/_internal/models/index.py"
	maxModule = 1 << 20
	// maxWheel is ten times the size of pip's wheel. maxWheels is more than an image has.
	maxWheel, maxWheels = 20 << 20, 4
)

// knownIndex is the SHA-256 of the default index of the pip in the stock images.
const knownIndex = "5a06749b2297be54ac5699f6f2761716adc5001a2d5f8b915ab2172922dd5706"

// usualIndex returns the default index of the pip in an image. An image that was built here from one of our recipes is
// trusted. Any other image could name an address to make the server connect to it. It is trusted only if it names the
// index of the stock images; so an exported and imported stock image works.
func usualIndex(img image.Image) string {
	at := namedIndex(img.Rootfs)
	sum := sha256.Sum256([]byte(at))
	if strings.HasPrefix(img.Source, image.FromRecipe) || hex.EncodeToString(sum[:]) == knownIndex {
		return at
	}
	return ""
}

// namedIndex returns the index that the pip of a root file system names, or "".
func namedIndex(rootfs string) string {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return ""
	}
	defer root.Close()
	wheels, _ := fs.Glob(root.FS(), "usr/share/python-wheels/pip-*.whl")
	for _, wheel := range wheels[:min(len(wheels), maxWheels)] {
		if m := pipIndex().FindSubmatch(moduleInWheel(root, wheel)); m != nil {
			if u, err := url.Parse(string(m[1])); err == nil {
				u.Path = path.Join("/", u.Path, "simple")
				return u.String()
			}
		}
	}
	return ""
}

// moduleInWheel reads pip's module from a wheel. The image may be untrusted.
func moduleInWheel(root *os.Root, wheel string) []byte {
	if info, err := root.Lstat(wheel); err != nil || !info.Mode().IsRegular() || info.Size() > maxWheel {
		return nil
	}
	text, err := root.ReadFile(wheel)
	if err != nil {
		return nil
	}
	archive, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return nil
	}
	f, err := archive.Open(pipModule)
	if err != nil {
		return nil
	}
	defer f.Close()
	module, _ := io.ReadAll(io.LimitReader(f, maxModule))
	return module
}
