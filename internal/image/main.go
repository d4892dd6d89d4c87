// Image builds Ambit's container image without a container engine: an OCI image layout for several machines, from nothing but the program itself. The same
// sources give the same digest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type config struct {
	out       string
	version   string
	revision  string
	at        time.Time // of everything in the image
	platforms []string  // linux/amd64, …
	engine    string    // libchdb.so for the variant with the embedded engine; empty: without
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	c := config{}
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&c.out, "out", "dist/image", "folder of the OCI image layout; replaced")
	flags.StringVar(&c.version, "version", "unknown", "version that the program says")
	flags.StringVar(&c.revision, "revision", "", "commit, for the image's labels")
	at := flags.Int64("epoch", 0, "time of all files, seconds since 1970; by default that of the commit")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64", "machines to build for")
	flags.StringVar(&c.engine, "engine", "", "also put the embedded ClickHouse in: path of libchdb.so (linux/amd64 alone)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c.platforms, c.at = strings.Split(*platforms, ","), time.Unix(*at, 0).UTC()
	if *at == 0 {
		out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return fmt.Errorf("ask git for the time of the commit: %w; give -epoch", err)
		}
		var seconds int64
		if _, err := fmt.Sscan(string(out), &seconds); err != nil {
			return fmt.Errorf("read the time of the commit: %w", err)
		}
		c.at = time.Unix(seconds, 0).UTC()
	}
	if c.engine != "" && *platforms != "linux/amd64" {
		return errors.New("the embedded ClickHouse is for -platforms linux/amd64 alone")
	}
	digest, err := c.build(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s  %s\n", digest, c.out)
	return nil
}

// build writes the layout with an index of one image a platform, and beside it a bill of materials for each.
func (c *config) build(ctx context.Context) (v1.Hash, error) {
	var zero v1.Hash
	work, err := os.MkdirTemp("", "ambit-image-")
	if err != nil {
		return zero, err
	}
	defer os.RemoveAll(work)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range c.platforms {
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			return zero, err
		}
		binary := filepath.Join(work, "ambit-"+p.Architecture)
		if err := c.compile(ctx, p, binary); err != nil {
			return zero, err
		}
		image, err := c.image(p, binary)
		if err != nil {
			return zero, fmt.Errorf("make the image for %s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: p}})
		bill := strings.TrimSuffix(c.out, "/") + "-" + p.Architecture + ".cdx.json"
		if err := os.MkdirAll(filepath.Dir(bill), 0o755); err != nil {
			return zero, err
		}
		if err := c.writeBill(bill, binary); err != nil {
			return zero, fmt.Errorf("write %s: %w", bill, err)
		}
	}
	if err := os.RemoveAll(c.out); err != nil {
		return zero, err
	}
	if _, err := layout.Write(c.out, index); err != nil {
		return zero, fmt.Errorf("write %s: %w", c.out, err)
	}
	return index.Digest()
}

// compile builds the program: static, unless it needs a C library for the engine.
func (c *config) compile(ctx context.Context, p *v1.Platform, to string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X main.version=" + c.version, "-o", to}
	if c.engine == "" {
		args = append(args, "-tags", "noengine")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/ambit-nhi/ambit")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Architecture)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build for %s: %w: %s", p, err, out)
	}
	return nil
}

// image has the program in a layer of its own, the last one, so that an upgrade fetches that alone.
func (c *config) image(p *v1.Platform, binary string) (v1.Image, error) {
	base, err := c.skeleton()
	if err != nil {
		return nil, err
	}
	layers := []v1.Layer{base}
	if c.engine != "" {
		library, err := c.library(binary)
		if err != nil {
			return nil, err
		}
		layers = append(layers, library)
	}
	program, err := c.program(binary)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.AppendLayers(image, append(layers, program)...); err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: p.Architecture, OS: p.OS, Created: v1.Time{Time: c.at},
		Config: v1.Config{
			Entrypoint: []string{"/ambit"}, Cmd: []string{"--help"}, User: "65532:65532", WorkingDir: "/",
			Labels: map[string]string{
				"org.opencontainers.image.title":    "Ambit",
				"org.opencontainers.image.version":  c.version,
				"org.opencontainers.image.revision": c.revision,
				"org.opencontainers.image.source":   "https://github.com/ambit-nhi/ambit",
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: diffs(image)},
	})
}

func diffs(image v1.Image) []v1.Hash {
	f, err := image.ConfigFile()
	if err != nil {
		return nil
	}
	return f.RootFS.DiffIDs
}
