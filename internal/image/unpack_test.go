package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type entry struct {
	name, link, content string
	kind                byte // zero is a file
	mode                int64
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.content))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// unpackAll unpacks layers into <outside>/rootfs. The file <outside>/secret must not change.
func unpackAll(t testing.TB, l limits, layers ...[]byte) (rootfs string, err error) {
	t.Helper()
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	rootfs = filepath.Join(outside, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	u, err := newUnpacker(rootfs, l)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, layer := range layers {
		if err = u.layer(t.Context(), u.budget.layer(bytes.NewReader(layer))); err != nil {
			break
		}
	}
	if err == nil {
		err = u.mountPoints()
	}
	checkOutside(t, outside)
	return rootfs, err
}

// checkOutside fails if anything outside the rootfs has changed.
func checkOutside(t testing.TB, outside string) {
	t.Helper()
	entries, err := os.ReadDir(outside)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Fatalf("got the entries %v outside the image, want only rootfs and secret", entries)
	}
	info, err := os.Stat(filepath.Join(outside, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(outside, "secret"))
	if err != nil || string(data) != "secret" || info.Mode() != 0o600 {
		t.Fatalf("the file outside the image is %q with mode %v, %v; want secret with mode 0600", data, info.Mode(), err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestAnInvalidEntryIsRefusedAndChangesNothingOutsideTheImage(t *testing.T) {
	for name, layer := range map[string][]entry{
		"dots":                    {{name: "../secret", content: "x"}},
		"dots inside":             {{name: "a/../../secret", content: "x"}},
		"dots as a directory":     {{name: "..", kind: tar.TypeDir, mode: 0o777}},
		"link, then write":        {{name: "out", link: "..", kind: tar.TypeSymlink}, {name: "out/secret", content: "x"}},
		"link to link":            {{name: "a", link: "b", kind: tar.TypeSymlink}, {name: "b", link: "..", kind: tar.TypeSymlink}, {name: "a/secret", content: "x"}},
		"absolute link":           {{name: "out", link: "/", kind: tar.TypeSymlink}, {name: "out/tmp/cellhold-escaped", content: "x"}},
		"link and whiteout":       {{name: "out", link: "..", kind: tar.TypeSymlink}, {name: "out/.wh.secret"}},
		"link and opaque":         {{name: "out", link: "..", kind: tar.TypeSymlink}, {name: "out/" + opaqueWhiteout}},
		"hard link outside":       {{name: "mine", link: "../secret", kind: tar.TypeLink}, {name: "mine", content: "x"}},
		"hard link by a link":     {{name: "out", link: "..", kind: tar.TypeSymlink}, {name: "mine", link: "out/secret", kind: tar.TypeLink}},
		"hard link to directory":  {{name: "d", kind: tar.TypeDir}, {name: "mine", link: "d", kind: tar.TypeLink}},
		"whiteout of the parent":  {{name: ".wh..."}},
		"whiteout of itself":      {{name: ".wh.."}},
		"whiteout of nothing":     {{name: ".wh."}},
		"directory over the link": {{name: "out", link: "../../", kind: tar.TypeSymlink}, {name: "out/rootfs/../x/y", kind: tar.TypeDir}},
		"unknown kind":            {{name: "x", kind: 'Z'}},
		"name that is too long":   {{name: strings.Repeat("d/", longestPath) + "x", content: "x"}},
		"hard link to nothing":    {{name: "x", link: "nothing", kind: tar.TypeLink}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := unpackAll(t, defaultLimits, tarOf(t, layer...)); err == nil {
				t.Error("got no error, want one")
			}
		})
	}
}

func TestAnEntryReplacesALinkOfTheSameName(t *testing.T) {
	rootfs, err := unpackAll(t, defaultLimits,
		tarOf(t, entry{name: "file", link: "../secret", kind: tar.TypeSymlink}, entry{name: "dir", link: "..", kind: tar.TypeSymlink}),
		tarOf(t, entry{name: "file", content: "mine"}, entry{name: "dir", kind: tar.TypeDir, mode: 0o777}))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "dir"} {
		if info, err := os.Lstat(filepath.Join(rootfs, name)); err != nil || info.Mode()&fs.ModeSymlink != 0 {
			t.Errorf("%s is %v, %v; want a file or directory, not a link", name, info.Mode(), err)
		}
	}
}

func TestAnEntryThatReplacesAHardLinkDoesNotChangeTheOtherName(t *testing.T) {
	rootfs, err := unpackAll(t, defaultLimits, tarOf(t,
		entry{name: "one", content: "first"},
		entry{name: "two", link: "one", kind: tar.TypeLink},
		entry{name: "two", content: "second"}))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(rootfs, "one")); err != nil || string(data) != "first" {
		t.Errorf("the file one is %q, %v; want first", data, err)
	}
}

func TestLinksWithinTheImageAreFollowedAndKept(t *testing.T) {
	rootfs, err := unpackAll(t, defaultLimits, tarOf(t,
		entry{name: "usr/lib", kind: tar.TypeDir, mode: 0o755},
		entry{name: "lib", link: "usr/lib", kind: tar.TypeSymlink},
		entry{name: "lib/libc.so", content: "elf"},
		entry{name: "lib/libc.so.6", link: "usr/lib/libc.so", kind: tar.TypeLink},
		entry{name: "etc/localtime", link: "/usr/share/zoneinfo/UTC", kind: tar.TypeSymlink}))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(rootfs, "usr/lib/libc.so.6")); err != nil || string(data) != "elf" {
		t.Errorf("libc.so.6 is %q, %v; want elf", data, err)
	}
	if link, err := os.Readlink(filepath.Join(rootfs, "etc/localtime")); err != nil || link != "/usr/share/zoneinfo/UTC" {
		t.Errorf("localtime links to %q, %v; want /usr/share/zoneinfo/UTC", link, err)
	}
}

func TestWhiteoutsRemoveEntriesOfLowerLayers(t *testing.T) {
	lower := tarOf(t,
		entry{name: "gone", content: "x"}, entry{name: "kept", content: "x"},
		entry{name: "dir/old", content: "x"}, entry{name: "dir/sub/old", content: "x"},
		entry{name: "replaced/old", content: "x"}, entry{name: "tree/deep/file", content: "x"})
	upper := tarOf(t,
		entry{name: ".wh.gone"}, entry{name: ".wh.never-there"}, entry{name: ".wh..wh.plnk"},
		entry{name: "dir/new", content: "x"}, entry{name: "dir/sub/new", content: "x"}, entry{name: "dir/" + opaqueWhiteout},
		entry{name: "replaced/new", content: "x"}, entry{name: ".wh.replaced"},
		entry{name: ".wh.tree"}, entry{name: "missing/" + opaqueWhiteout})
	rootfs, err := unpackAll(t, defaultLimits, lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"gone": false, "kept": true, "dir/old": false, "dir/sub/old": false, "dir/new": true, "dir/sub/new": true,
		"replaced/old": false, "replaced/new": true, "tree": false, ".wh.gone": false, "dir/" + opaqueWhiteout: false,
	} {
		if got := exists(filepath.Join(rootfs, name)); got != want {
			t.Errorf("%s exists: %v, want %v", name, got, want)
		}
	}
}

func TestDevicesPipesAndSetIDBitsAreLeftOut(t *testing.T) {
	rootfs, err := unpackAll(t, defaultLimits, tarOf(t,
		entry{name: "dev/sda", kind: tar.TypeBlock, mode: 0o666}, entry{name: "dev/mem", kind: tar.TypeChar, mode: 0o666},
		entry{name: "pipe", kind: tar.TypeFifo, mode: 0o666},
		entry{name: "bin/su", content: "elf", mode: 0o6750}, entry{name: "etc/shadow", content: "x", mode: 0},
		entry{name: "tmp", kind: tar.TypeDir, mode: 0o1777}, entry{name: "closed", kind: tar.TypeDir, mode: 0o2700}))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dev/sda", "dev/mem", "pipe"} {
		if exists(filepath.Join(rootfs, name)) {
			t.Errorf("%s exists, want no such file", name)
		}
	}
	for name, want := range map[string]fs.FileMode{
		"bin/su": 0o755, "etc/shadow": 0o644, "tmp": fs.ModeDir | 0o755, "closed": fs.ModeDir | 0o755, "bin": fs.ModeDir | 0o755,
	} {
		if info, err := os.Lstat(filepath.Join(rootfs, name)); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

func TestMountPointsAreRealDirectories(t *testing.T) {
	rootfs, err := unpackAll(t, defaultLimits, tarOf(t,
		entry{name: "tmp", link: "/etc", kind: tar.TypeSymlink}, entry{name: "mnt", link: "..", kind: tar.TypeSymlink},
		entry{name: "proc", content: "a file"}, entry{name: "home/user/.profile", content: "kept"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"opt/cellhold/bin", "mnt", "mnt/data", "workspace", "home/user", "tmp", "run", "dev/shm", "proc", "sys", "dev"} {
		if info, err := os.Lstat(filepath.Join(rootfs, name)); err != nil || !info.IsDir() {
			t.Errorf("%s: %v; want a directory", name, err)
		}
	}
	if !exists(filepath.Join(rootfs, "home/user/.profile")) {
		t.Error("home/user/.profile does not exist, want the file of the layer")
	}
}

func TestAnImageAboveTheLimitsIsRefused(t *testing.T) {
	small := limits{bytes: 64 << 10, entries: 10, ratio: 200}
	many := make([]entry, 11)
	for i := range many {
		many[i] = entry{name: strings.Repeat("x", i+1)}
	}
	for name, layer := range map[string][]byte{
		"too many bytes": tarOf(t, entry{name: "a", content: strings.Repeat("x", 40<<10)}, entry{name: "b", content: strings.Repeat("x", 40<<10)}),
		"too many files": tarOf(t, many...),
		"a sparse file":  sparseTar(t, 1<<40),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := unpackAll(t, small, layer); !errors.Is(err, errTooLarge) {
				t.Errorf("got %v, want errTooLarge", err)
			}
		})
	}
}

// sparseTar returns an archive with a sparse file of this size and without content, in the format of GNU tar.
func sparseTar(t testing.TB, size int64) []byte {
	t.Helper()
	var block [512]byte
	copy(block[0:], "hole")
	copy(block[100:], "0000644\x00")
	copy(block[124:], "00000000000\x00") // stored size
	copy(block[136:], "00000000000\x00")
	block[156] = tar.TypeGNUSparse
	copy(block[257:], "ustar  \x00")
	// One empty fragment at the end, then the real size.
	copy(block[386:], base256(size))
	copy(block[398:], "00000000000\x00")
	copy(block[483:], base256(size))
	copy(block[148:], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], []byte{'0' + byte(sum>>15&7), '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' '})
	return append(block[:], make([]byte, 1024)...)
}

func base256(n int64) []byte {
	b := make([]byte, 12)
	for i := 11; i > 3; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	b[0] = 0x80
	return b
}

// FuzzUnpack: no archive changes files outside the image or exceeds the limits.
func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, entry{name: "out", link: "..", kind: tar.TypeSymlink}, entry{name: "out/secret", content: "x"}))
	f.Add(tarOf(f, entry{name: "a/b", content: "x"}, entry{name: "a/" + opaqueWhiteout}, entry{name: ".wh.a"}))
	f.Add(tarOf(f, entry{name: "a", content: "x"}, entry{name: "b", link: "a", kind: tar.TypeLink}, entry{name: "../b", content: "y"}))
	f.Add(sparseTar(f, 1<<40))
	small := limits{bytes: 1 << 20, entries: 100, ratio: 200}
	f.Fuzz(func(t *testing.T, layer []byte) {
		rootfs, _ := unpackAll(t, small, layer)
		var total int64
		err := filepath.WalkDir(rootfs, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if kind := d.Type(); kind != 0 && kind != fs.ModeDir && kind != fs.ModeSymlink {
				t.Errorf("%s is of kind %v, want a file, a directory or a link", path, kind)
			}
			if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 || d.Type() != fs.ModeSymlink && info.Mode()&0o022 != 0 {
				t.Errorf("%s has mode %v, want no set-id bits and no writing by other users", path, info.Mode())
			}
			if d.Type() == 0 {
				total += info.Size()
			}
			return nil
		})
		if err != nil || total > small.bytes {
			t.Errorf("unpacked %d bytes, %v; want at most %d", total, err, small.bytes)
		}
	})
}
