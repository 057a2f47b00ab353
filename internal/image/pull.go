package image

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Pull pulls an image from a registry and names it like the reference. It uses the credentials of `docker login`.
func (s *Store) Pull(ctx context.Context, ref string, progress Progress) (Image, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return Image{}, fmt.Errorf("pull: %w", err)
	}
	release, err := s.lock(ctx, progress)
	if err != nil {
		return Image{}, err
	}
	defer release()
	progress.say("pulling from %s: %s", r.Context().RegistryStr(), r.Identifier())
	src, err := remoteSource(ctx, r)
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", ref, err)
	}
	name := withTag(ref)
	if err := checkName(name); err != nil {
		return Image{}, err
	}
	img, err := s.add(ctx, src, name, progress)
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", ref, err)
	}
	return img, nil
}

func remoteSource(ctx context.Context, r name.Reference) (source, error) {
	img, err := remote.Image(r,
		remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(smallManifests{remote.DefaultTransport}),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return source{}, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return source{}, err
	}
	if manifest.Config.Size > maxMetadata {
		return source{}, fmt.Errorf("%w: configuration of %d bytes", errTooLarge, manifest.Config.Size)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return source{}, err
	}
	diffIDs, err := diffIDsOf(config, len(manifest.Layers))
	if err != nil {
		return source{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return source{}, err
	}
	layers, err := img.Layers()
	if err != nil {
		return source{}, err
	}
	src := source{digest: digest.String(), where: r.Name(), recipe: claimedRecipe(config)}
	for i, l := range layers {
		src.layers = append(src.layers, blob{open: l.Compressed, diffID: diffIDs[i]})
	}
	return src, nil
}

// smallManifests limits the size of manifests to the limit of registries. The library reads manifests completely, and a
// hostile registry could send an endless one.
type smallManifests struct{ next http.RoundTripper }

func (t smallManifests) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(r)
	if err == nil && strings.Contains(r.URL.Path, "/manifests/") {
		response.Body = cutBody{io.LimitReader(response.Body, maxMetadata), response.Body}
	}
	return response, err
}

type cutBody struct {
	io.Reader
	io.Closer
}
