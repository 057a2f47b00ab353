package guest

import (
	"encoding/json"
	"path"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
)

func good() guestapi.Entry {
	return guestapi.Entry{Path: "/workspace/a", Name: "a", Type: "file", Size: 1, Modified: time.Unix(1, 0), Mode: 0o644, Version: "1-2-3"}
}

func TestInvalidEntriesAreRefused(t *testing.T) {
	if f, err := checkEntry(good()); err != nil || f.Path != "/workspace/a" || f.Mode != "0644" {
		t.Fatalf("a valid entry became %+v, %v", f, err)
	}
	for name, spoil := range map[string]func(*guestapi.Entry){
		"relative path":   func(e *guestapi.Entry) { e.Path = "a" },
		"dots":            func(e *guestapi.Entry) { e.Path = "/workspace/../etc" },
		"encoded dots":    func(e *guestapi.Entry) { e.Path = "/workspace/%2e%2e/etc" },
		"zero byte":       func(e *guestapi.Entry) { e.Path = "/a%00b" },
		"bad encoding":    func(e *guestapi.Entry) { e.Path = "/a%zz" },
		"long path":       func(e *guestapi.Entry) { e.Path = "/" + strings.Repeat("a", 3*guestapi.MaxFilePath) },
		"type":            func(e *guestapi.Entry) { e.Type = "door" },
		"size":            func(e *guestapi.Entry) { e.Size = -1 },
		"mode":            func(e *guestapi.Entry) { e.Mode = 0o4755 },
		"version":         func(e *guestapi.Entry) { e.Version = "1\r\nSet-Cookie: x" },
		"no version":      func(e *guestapi.Entry) { e.Version = "" },
		"long version":    func(e *guestapi.Entry) { e.Version = strings.Repeat("1", 100) },
		"target encoding": func(e *guestapi.Entry) { e.Target = "%" },
	} {
		e := good()
		spoil(&e)
		if f, err := checkEntry(e); err == nil {
			t.Errorf("%s: accepted as %+v", name, f)
		}
	}
}

func TestEndlessPagesAreRefused(t *testing.T) {
	entry := func(name string) guestapi.Entry { e := good(); e.Name = name; return e }
	for name, l := range map[string]guestapi.Listing{
		"empty and more":  {Path: "/d", More: true},
		"out of order":    {Path: "/d", Entries: []guestapi.Entry{entry("c"), entry("b")}},
		"before the mark": {Path: "/d", Entries: []guestapi.Entry{entry("a")}},
		"twice":           {Path: "/d", Entries: []guestapi.Entry{entry("c"), entry("c")}},
		"slash":           {Path: "/d", Entries: []guestapi.Entry{entry("c%2Fd")}},
		"dots":            {Path: "/d", Entries: []guestapi.Entry{entry("..")}},
		"too many":        {Path: "/d", Entries: []guestapi.Entry{entry("b"), entry("c"), entry("d"), entry("e")}},
	} {
		if list, err := checkListing(l, "a", 3); err == nil {
			t.Errorf("%s: accepted as %+v", name, list)
		}
	}
	list, err := checkListing(guestapi.Listing{Path: "/d", Entries: []guestapi.Entry{entry("b"), entry("caf%E9")}}, "a", 3)
	if err != nil || list[1].Exact() != "/d/caf\xe9" || list[1].Path != "/d/caf\uFFFD" {
		t.Errorf("a valid page became %+v, %v", list, err)
	}
}

// FuzzListing parses answers of a hostile guest. Accepted answers are within the bounds, and can be encoded
// as JSON and decoded to the same value.
func FuzzListing(f *testing.F) {
	f.Add([]byte(`{"path":"/workspace","entries":[{"name":"a%FF","type":"file","size":3,"modified":"2026-01-02T03:04:05Z","mode":420,"version":"1-2"}],"more":false}`))
	f.Add([]byte(`{"path":"/%2e%2e","entries":[{"name":"..","type":"symlink","target":"%00"}],"more":true}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l guestapi.Listing
		if !fits(b, listLevels+1, maxListingCommas) || json.Unmarshal(b, &l) != nil {
			return
		}
		list, err := checkListing(l, "", 10)
		if err != nil {
			return
		}
		last := ""
		for _, x := range list {
			exact := x.Exact()
			if !utf8.ValidString(x.Path) || !strings.HasPrefix(exact, "/") || path.Clean(exact) != exact || path.Base(exact) <= last || x.Size < 0 {
				t.Errorf("accepted: %+v", x)
			}
			last = path.Base(exact)
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var again []cellhold.FileInfo
		if err := json.Unmarshal(text, &again); err != nil || len(again) != len(list) || len(list) > 0 && again[0].Exact() != list[0].Exact() {
			t.Errorf("%s reads as %v, %v", text, again, err)
		}
	})
}

// FuzzChange parses lines of a watch.
func FuzzChange(f *testing.F) {
	f.Add([]byte(`{"type":"created","path":"/workspace/a%FF","dir":true}`))
	f.Add([]byte(`{"type":"overflow","path":"x"}`))
	f.Add([]byte(`{"type":"","path":"/a/../b"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := checkChange(b)
		if err != nil {
			return
		}
		if c.Type == cellhold.FileOverflow && c.Path != "" || c.Type != cellhold.FileOverflow && path.Clean(c.Exact()) != c.Exact() || !utf8.ValidString(c.Path) {
			t.Errorf("accepted: %+v", c)
		}
	})
}

// FuzzCellFiles checks lists of files that a cell wrote, according to a hostile guest.
func FuzzCellFiles(f *testing.F) {
	f.Add([]byte(`[{"path":"/workspace/a","size":1,"modified":"2026-01-02T03:04:05Z"},{"path":"/x\ufffd","escaped":"/x%FF"}]`))
	f.Add([]byte(`[{"path":"../a","size":-1}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []cellhold.CellFile
		if json.Unmarshal(b, &list) != nil {
			return
		}
		list, _ = checkCellFiles(list)
		if _, err := json.Marshal(list); err != nil || len(list) > guestapi.MaxCellFiles {
			t.Errorf("%d files, %v", len(list), err)
		}
		for _, x := range list {
			if !strings.HasPrefix(x.Exact(), "/") || path.Clean(x.Exact()) != x.Exact() || !utf8.ValidString(x.Path) {
				t.Errorf("accepted: %+v", x)
			}
		}
	})
}
