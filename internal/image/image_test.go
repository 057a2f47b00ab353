package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// testStore returns a store with the given builder.
func testStore(t testing.TB, build func(context.Context, job) error) *Store {
	t.Helper()
	s, err := Open(Options{Dir: filepath.Join(t.TempDir(), "images")})
	if err != nil {
		t.Fatal(err)
	}
	s.make = build
	return s
}

func buildHello(_ context.Context, j job) error {
	return os.WriteFile(filepath.Join(j.rootfs, "hello"), []byte("hello"), 0o644)
}

func testRecipe(script string) fstest.MapFS {
	return fstest.MapFS{
		"recipe.json":  {Data: []byte(`{"name": "tiny", "suite": "trixie"}`)},
		"packages.txt": {Data: []byte("# comment\npython3  # why\n\nbash\n")},
		"build.sh":     {Data: []byte(script)},
	}
}

func mustBuild(t testing.TB, s *Store, recipe fs.FS) Image {
	t.Helper()
	img, err := s.Build(t.Context(), recipe, BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// leftovers returns the working folders of builds and imports in the store.
func leftovers(t testing.TB, s *Store) []string {
	t.Helper()
	strays, err := filepath.Glob(filepath.Join(s.dir, workPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return strays
}

func TestABuiltImageIsFoundByNameAndDigest(t *testing.T) {
	s := testStore(t, buildHello)
	built := mustBuild(t, s, testRecipe("true"))
	for _, ref := range []string{"tiny", "tiny:latest", built.Digest, built.Digest[7:], built.Digest[7 : 7+minDigits]} {
		img, err := s.Resolve(ref)
		if err != nil || img.Digest != built.Digest {
			t.Errorf("Resolve(%q) = %v, %v; want %s", ref, img.Digest, err, built.Digest)
		}
	}
	if data, err := os.ReadFile(filepath.Join(built.Rootfs, "hello")); err != nil || string(data) != "hello" {
		t.Errorf("the file hello is %q, %v; want hello", data, err)
	}
	if built.Size != 5 || !slices.Equal(built.Names, []string{"tiny:latest"}) {
		t.Errorf("got the image %+v, want size 5 and the name tiny:latest", built)
	}
}

func TestAnUnknownImageIsNotFound(t *testing.T) {
	s := testStore(t, buildHello)
	for _, ref := range []string{"tiny", "", "../../etc/passwd", "sha256:" + strings.Repeat("0", 64), "0123456789abcdef", "a b", strings.Repeat("a", 500)} {
		if _, err := s.Resolve(ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("Resolve(%q): %v, want ErrNotFound", ref, err)
		}
	}
}

func TestASecondBuildOfTheSameRecipeBuildsNothing(t *testing.T) {
	builds := 0
	s := testStore(t, func(ctx context.Context, j job) error { builds++; return buildHello(ctx, j) })
	first := mustBuild(t, s, testRecipe("true"))
	second := mustBuild(t, s, testRecipe("true"))
	if builds != 1 || first.Digest != second.Digest {
		t.Errorf("%d builds, digests %s and %s; want one build and one digest", builds, first.Digest, second.Digest)
	}
}

func TestAChangedRecipeMakesAnotherImageAndTakesTheName(t *testing.T) {
	s := testStore(t, buildHello)
	first := mustBuild(t, s, testRecipe("true"))
	second := mustBuild(t, s, testRecipe("false"))
	if first.Digest == second.Digest {
		t.Fatalf("got the digest %s for two recipes, want two digests", first.Digest)
	}
	if img, err := s.Resolve("tiny"); err != nil || img.Digest != second.Digest {
		t.Errorf("tiny is %s, %v; want the newer %s", img.Digest, err, second.Digest)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Errorf("List: %d images, %v; want 2", len(list), err)
	}
}

func TestACancelledBuildLeavesNoFilesAndNoImage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := testStore(t, func(ctx context.Context, j job) error {
		if err := buildHello(ctx, j); err != nil {
			return err
		}
		cancel()
		return ctx.Err()
	})
	if _, err := s.Build(ctx, testRecipe("true"), BuildOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Build: %v, want context.Canceled", err)
	}
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("got the working folders %v, want 0", left)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List: %v, %v; want 0 images", list, err)
	}
}

func TestABuildRemovesTheFilesOfAnInterruptedBuild(t *testing.T) {
	s := testStore(t, buildHello)
	stray := filepath.Join(s.dir, workPrefix+"123", imageDir, rootfsDir, "etc")
	if err := os.MkdirAll(stray, 0o755); err != nil {
		t.Fatal(err)
	}
	mustBuild(t, s, testRecipe("true"))
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("got the working folders %v, want 0", left)
	}
}

func TestTwoConcurrentBuildsOfARecipeBuildOnce(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	builds := 0
	s := testStore(t, func(ctx context.Context, j job) error {
		builds++
		close(started)
		<-finish
		return buildHello(ctx, j)
	})
	first := make(chan error, 1)
	go func() {
		_, err := s.Build(t.Context(), testRecipe("true"), BuildOptions{})
		first <- err
	}()
	<-started
	said := ""
	// The first build continues only after the second one has reported that it waits.
	progress := func(step string) {
		if strings.Contains(step, "waiting") {
			said = step
			close(finish)
		}
	}
	if _, err := s.Build(t.Context(), testRecipe("true"), BuildOptions{Progress: progress}); err != nil {
		t.Error(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	if builds != 1 || said == "" {
		t.Errorf("got %d builds and the progress %q of the second; want 1 and the word waiting", builds, said)
	}
}

func TestAWaitingBuildCanBeCancelled(t *testing.T) {
	s := testStore(t, buildHello)
	release, err := s.lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = s.Build(ctx, testRecipe("true"), BuildOptions{Progress: func(string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Build: %v, want context.Canceled", err)
	}
}

func TestRemovingTheLastNameRemovesTheImage(t *testing.T) {
	s := testStore(t, buildHello)
	img := mustBuild(t, s, testRecipe("true"))
	if err := s.setName("other:latest", img.Digest); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "tiny"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve("other"); err != nil {
		t.Errorf("Resolve(other) after the removal of one of two names: %v, want the image", err)
	}
	if err := s.Remove(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(img.Rootfs); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("rootfs after the removal of the last name: %v, want fs.ErrNotExist", err)
	}
	if err := s.Remove(t.Context(), "tiny"); !errors.Is(err, ErrNotFound) {
		t.Errorf("second removal: %v, want ErrNotFound", err)
	}
}

func TestAnImageInUseIsNotRemoved(t *testing.T) {
	s := testStore(t, buildHello)
	img := mustBuild(t, s, testRecipe("true"))
	s.inUse = func(digest string) bool { return digest == img.Digest }
	for _, ref := range []string{"tiny", img.Digest} {
		if err := s.Remove(t.Context(), ref); !errors.Is(err, ErrInUse) {
			t.Errorf("Remove(%s): %v, want ErrInUse", ref, err)
		}
	}
	if _, err := s.Resolve("tiny"); err != nil {
		t.Errorf("Resolve after the refused removal: %v, want the image", err)
	}
}

func TestAFailedBuildIsNotStored(t *testing.T) {
	broken := errors.New("numpy is missing")
	s := testStore(t, func(ctx context.Context, j job) error {
		return errors.Join(buildHello(ctx, j), broken)
	})
	if _, err := s.Build(t.Context(), testRecipe("true"), BuildOptions{}); !errors.Is(err, broken) {
		t.Errorf("Build: %v, want %v", err, broken)
	}
	if _, err := s.Resolve("tiny"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Resolve: %v, want ErrNotFound", err)
	}
}
