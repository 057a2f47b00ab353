package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"
)

// testImage returns an image of two layers. The second layer removes a file of the first.
func testImage(t testing.TB) v1.Image {
	t.Helper()
	return withLayers(t,
		tarOf(t, entry{name: "etc/name", content: "test"}, entry{name: "etc/old", content: "x"}),
		tarOf(t, entry{name: "etc/.wh.old"}, entry{name: "bin/sh", content: "elf", mode: 0o755}))
}

func withLayers(t testing.TB, layers ...[]byte) v1.Image {
	t.Helper()
	img := empty.Image
	for _, content := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	return forMachine(t, img, runtime.GOARCH)
}

func forMachine(t testing.TB, img v1.Image, arch string) v1.Image {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

func writeTestLayout(t testing.TB, images ...v1.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range images {
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		platform := v1.Platform{OS: "linux", Architecture: config.Architecture}
		if err := path.AppendImage(img, layout.WithPlatform(platform)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func writeDockerSave(t testing.TB, img v1.Image, tag string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saved.tar")
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(path, ref, img); err != nil {
		t.Fatal(err)
	}
	return path
}

func checkTestImage(t testing.TB, img Image) {
	t.Helper()
	if data, err := os.ReadFile(filepath.Join(img.Rootfs, "etc/name")); err != nil || string(data) != "test" {
		t.Errorf("etc/name is %q, %v; want test", data, err)
	}
	if exists(filepath.Join(img.Rootfs, "etc/old")) {
		t.Error("etc/old exists, want no such file after the second layer")
	}
	if info, err := os.Stat(filepath.Join(img.Rootfs, "bin/sh")); err != nil || info.Mode() != 0o755 {
		t.Errorf("bin/sh has mode %v, %v; want 0755", info.Mode(), err)
	}
	if !exists(filepath.Join(img.Rootfs, "opt/cellhold/bin")) {
		t.Error("opt/cellhold/bin does not exist, want the mount points")
	}
}

func gzipFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".gz", buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path + ".gz"
}

// archiveOf packs a directory, like tools that write OCI archives.
func archiveOf(t testing.TB, dir string) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "archive.tar")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImportReadsDockerArchivesAndOCILayouts(t *testing.T) {
	saved := writeDockerSave(t, testImage(t), "acme/tools:1")
	dir := writeTestLayout(t, forMachine(t, testImage(t), "s390x"), testImage(t))
	for _, test := range []struct{ form, path, want string }{
		{"docker save", saved, "acme/tools:1"},
		{"docker save, gzipped", gzipFile(t, saved), "acme/tools:1"},
		{"OCI layout for several machines", dir, "layout:latest"},
		{"OCI archive", archiveOf(t, dir), "archive:latest"},
		{"OCI archive, gzipped", gzipFile(t, archiveOf(t, dir)), "archive:latest"},
	} {
		t.Run(test.form, func(t *testing.T) {
			s := testStore(t, nil)
			img, err := s.Import(t.Context(), test.path, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			checkTestImage(t, img)
			if len(img.Names) != 1 || !strings.HasSuffix(img.Names[0], test.want) {
				t.Errorf("got the names %q, want one that ends in %q", img.Names, test.want)
			}
			if left := leftovers(t, s); len(left) > 0 {
				t.Errorf("got the working folders %v, want 0", left)
			}
		})
	}
}

func TestImportingAgainUnpacksNothingAndAddsAName(t *testing.T) {
	s := testStore(t, nil)
	dir := writeTestLayout(t, testImage(t))
	first, err := s.Import(t.Context(), dir, "one", nil)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	second, err := s.Import(t.Context(), dir, "two:2", func(step string) { said = append(said, step) })
	if err != nil {
		t.Fatal(err)
	}
	if second.Digest != first.Digest || strings.Join(second.Names, " ") != "one:latest two:2" {
		t.Errorf("got %s with the names %v, want %s with one:latest and two:2", second.Digest, second.Names, first.Digest)
	}
	if got := strings.Join(said, "; "); got != "up to date" {
		t.Errorf("got the progress %q of the second import, want \"up to date\"", got)
	}
}

func TestADamagedLayerIsRefused(t *testing.T) {
	dir := writeTestLayout(t, testImage(t))
	other, err := os.ReadFile(layerFile(t, dir, testImage(t), 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(layerFile(t, dir, testImage(t), 0), other, 0o600); err != nil {
		t.Fatal(err)
	}
	s := testStore(t, nil)
	if _, err := s.Import(t.Context(), dir, "", nil); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Import: %v, want an error with the word damaged", err)
	}
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("got the working folders %v, want 0", left)
	}
}

func layerFile(t testing.TB, dir string, img v1.Image, i int) string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[i].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, blobPath(digest))
}

func TestAZstdLayerIsUnpacked(t *testing.T) {
	plain := tarOf(t, entry{name: "file", content: "content"})
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s := testStore(t, nil)
	src := source{digest: "sha256:test", layers: []blob{{
		open:   func() (io.ReadCloser, error) { return io.NopCloser(&packed), nil },
		diffID: digestOfString(string(plain)),
	}}}
	img, err := s.add(t.Context(), src, "zstd:latest", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(img.Rootfs, "file")) {
		t.Error("the file of the layer does not exist in the image")
	}
}

func TestAZipBombIsRefused(t *testing.T) {
	// Zeros are compressed to a thousandth. The ratio counts only after ratioFree bytes.
	bomb := withLayers(t, tarOf(t, entry{name: "zeros", content: strings.Repeat("\x00", ratioFree+(8<<20))}))
	s := testStore(t, nil)
	if _, err := s.Import(t.Context(), writeTestLayout(t, bomb), "", nil); !errors.Is(err, errTooLarge) {
		t.Errorf("Import: %v, want errTooLarge", err)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List: %v, %v; want 0 images", list, err)
	}
}

func TestUnusableImagesAreNotImported(t *testing.T) {
	s := testStore(t, nil)
	huge := writeTestLayout(t, testImage(t))
	if err := os.Truncate(filepath.Join(huge, "index.json"), maxMetadata+1); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"for another architecture": writeTestLayout(t, forMachine(t, testImage(t), "s390x")),
		"two images":               writeTestLayout(t, testImage(t), withLayers(t, tarOf(t))),
		"no image":                 archiveOf(t, t.TempDir()),
		"a missing path":           filepath.Join(t.TempDir(), "missing"),
		"too large metadata":       huge,
		"no layers":                writeTestLayout(t, forMachine(t, empty.Image, runtime.GOARCH)),
	} {
		t.Run(name, func(t *testing.T) {
			if img, err := s.Import(t.Context(), path, "", nil); err == nil {
				t.Errorf("got the image %v, want an error", img.Names)
			}
		})
	}
	if _, err := s.Import(t.Context(), writeTestLayout(t, testImage(t)), "../name", nil); err == nil {
		t.Error("the name ../name: got no error, want one")
	}
}

func TestAnArchiveCannotReadFilesOfTheHost(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(outside, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "evil.tar")
	if err := os.WriteFile(path, tarOf(t, entry{name: "manifest.json", link: outside, kind: tar.TypeSymlink}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := testStore(t, nil).Import(t.Context(), path, "", nil)
	if err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("Import: %v, want an error with the word escapes", err)
	}
}

func TestAnExportedImageCanBeImported(t *testing.T) {
	for _, file := range []string{"image.tar", "image"} {
		t.Run(file, func(t *testing.T) {
			s := testStore(t, buildHello)
			built := mustBuild(t, s, testRecipe("true"))
			if err := os.Symlink("hello", filepath.Join(built.Rootfs, "link")); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), file)
			if err := s.Export(t.Context(), "tiny", out, nil); err != nil {
				t.Fatal(err)
			}
			back, err := testStore(t, nil).Import(t.Context(), out, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(filepath.Join(back.Rootfs, "link")); err != nil || string(data) != "hello" {
				t.Errorf("the link to hello reads %q, %v; want hello", data, err)
			}
			if len(back.Names) != 1 || !strings.HasSuffix(back.Names[0], "tiny:latest") {
				t.Errorf("got the names %q, want one that ends in tiny:latest", back.Names)
			}
			if err := s.Export(t.Context(), "tiny", out, nil); !errors.Is(err, fs.ErrExist) {
				t.Errorf("second export: %v, want fs.ErrExist", err)
			}
		})
	}
}

func TestPullFetchesFromARegistry(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/acme/tools:1"
	tag, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: forMachine(t, testImage(t), "s390x"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: testImage(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	if err := remote.WriteIndex(tag, index, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	s := testStore(t, nil)
	img, err := s.Pull(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkTestImage(t, img)
	if found, err := s.Resolve(ref); err != nil || found.Digest != img.Digest {
		t.Errorf("Resolve(%s) = %s, %v; want %s", ref, found.Digest, err, img.Digest)
	}
	byDigest := strings.TrimSuffix(ref, ":1") + "@" + manifestDigest(t, testImage(t))
	again, err := s.Pull(t.Context(), byDigest, nil)
	if err != nil || again.Digest != img.Digest {
		t.Errorf("Pull(%s) = %s, %v; want %s", byDigest, again.Digest, err, img.Digest)
	}
	if _, err := s.Resolve(byDigest); err != nil {
		t.Errorf("Resolve(%s): %v, want the image", byDigest, err)
	}
}

func manifestDigest(t testing.TB, img v1.Image) string {
	t.Helper()
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestPullOfAnUnknownImageLeavesNothing(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	s := testStore(t, nil)
	if _, err := s.Pull(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/acme/missing", nil); err == nil {
		t.Error("Pull of an unknown image: got no error, want one")
	}
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("got the working folders %v, want 0", left)
	}
}

func TestAnImageForAnotherArchitectureIsNotPulled(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/acme/random")
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, forMachine(t, img, "s390x"), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, err := testStore(t, nil).Pull(t.Context(), ref.Name(), nil); err == nil || !strings.Contains(err.Error(), "s390x") {
		t.Errorf("Pull: %v, want an error with s390x", err)
	}
}
