package setup

import (
	"slices"
	"strings"
	"testing"

	"cellhold/internal/image"
)

func TestFlagsAndToolsGiveThePackageSourcesInOrder(t *testing.T) {
	own, tools := t.TempDir(), t.TempDir()
	extra := make([]string, 1, 4) // an append of the code could write into the spare capacity
	extra[0] = "https://extra.example/simple"
	online := toolSettings{main: "https://main.example/simple", extra: extra}
	offline := toolSettings{main: "https://main.example/simple", offline: true, folder: tools}
	for name, x := range map[string]struct {
		flags PackageSettings
		tools toolSettings
		want  string
	}{
		"nothing":                        {PackageSettings{}, toolSettings{}, ""},
		"tools":                          {PackageSettings{}, online, "extra.example main.example"},
		"tools without an index":         {PackageSettings{}, offline, tools},
		"an index":                       {PackageSettings{PackageIndex: []string{"https://flag.example/simple"}}, online, "flag.example"},
		"an index with offline tools":    {PackageSettings{PackageIndex: []string{"https://flag.example/simple"}}, offline, tools + " flag.example"},
		"a folder":                       {PackageSettings{PackageFolder: own}, online, own + " extra.example main.example"},
		"a folder only":                  {PackageSettings{PackageFolder: own, PackageOffline: true, PackageIndex: []string{"https://flag.example/simple"}}, online, own},
		"offline with the tools' folder": {PackageSettings{PackageOffline: true}, offline, tools},
		"a pin comes first":              {PackageSettings{PackagePin: []string{"corp-*=https://pin.example/simple"}, PackageFolder: own}, online, "pin.example " + own + " extra.example main.example"},
		"an empty index":                 {PackageSettings{PackageIndex: []string{""}}, online, ""},
	} {
		sources, err := x.flags.sources(x.tools, image.Image{})
		if err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
		var got []string
		for _, s := range sources {
			if s.URL != nil {
				got = append(got, s.URL.Host)
			} else {
				got = append(got, s.Folder)
			}
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%s: got %q, want %q", name, got, x.want)
		}
	}
	if full := extra[:cap(extra)]; slices.Contains(full[1:], "https://main.example/simple") {
		t.Errorf("got the extra indexes %q, want no other value than the first", full)
	}
	for name, flags := range map[string]PackageSettings{
		"a pin without a URL":        {PackagePin: []string{"corp"}},
		"no folder":                  {PackageOffline: true},
		"a missing folder":           {PackageFolder: own + "/none"},
		"an index that is not a URL": {PackageIndex: []string{"index"}},
	} {
		if sources, err := flags.sources(online, image.Image{}); err == nil {
			t.Errorf("%s: got %v, want an error", name, sources)
		}
	}
}

func TestPartsAreClosedOnceInReverseOrder(t *testing.T) {
	var closed []string
	part := func(name string) func() error {
		return func() error { closed = append(closed, name); return nil }
	}
	p := &Parts{opened: []func() error{part("store"), part("driver")}}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(closed, " "); got != "driver store" {
		t.Errorf("closed %q, want \"driver store\"", got)
	}
}
