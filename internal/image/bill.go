package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// writeBill writes what is in an image, in CycloneDX 1.5: the modules that Go noted when it built the binary, the libraries of the pages, and the engine.
func (c *config) writeBill(path, binary string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	web, err := pages()
	if err != nil {
		return err
	}
	library, err := c.engineLibrary()
	if err != nil {
		return err
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: c.at.Format(time.RFC3339),
		Component: &cdx.Component{BOMRef: "ambit", Type: cdx.ComponentTypeApplication, Name: info.Main.Path, Version: c.version},
	}
	components := []cdx.Component{{
		BOMRef: "go", Type: cdx.ComponentTypeLibrary, Name: "std", Version: info.GoVersion, PackageURL: "pkg:golang/std@" + info.GoVersion,
	}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		url := "pkg:golang/" + m.Path + "@" + m.Version
		components = append(components, cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: url})
	}
	components = append(append(components, web...), library...)
	slices.SortFunc(components, func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	bom.Components = &components
	bom.SerialNumber = "" // else it would differ each time
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := cdx.NewBOMEncoder(file, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_5); err != nil {
		return err
	}
	return file.Close()
}

// pages are the libraries of the web pages that are built into programs. There are none where the pages were not bundled.
func pages() ([]cdx.Component, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/ambit-nhi/ambit").Output()
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	web := filepath.Join(strings.TrimSpace(string(out)), "collector", "web")
	if _, err := os.Stat(filepath.Join(web, "dist", "manifest.json")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(web, "package-lock.json"))
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct {
			Version, License string
			Dev, Optional    bool
		}
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, fmt.Errorf("read the packages of the web pages: %w", err)
	}
	var components []cdx.Component
	for at, p := range lock.Packages {
		i := strings.LastIndex(at, "node_modules/")
		if i < 0 || p.Dev || p.Optional { // the pages themselves, and what only builds and tests them
			continue
		}
		name := at[i+len("node_modules/"):]
		url := "pkg:npm/" + strings.Replace(name, "@", "%40", 1) + "@" + p.Version
		c := cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: name, Version: p.Version, PackageURL: url}
		if p.License != "" {
			c.Licenses = &cdx.Licenses{{License: &cdx.License{ID: p.License}}}
		}
		components = append(components, c)
	}
	return components, nil
}

// engineLibrary is the embedded ClickHouse, where the image has it.
func (c *config) engineLibrary() ([]cdx.Component, error) {
	if c.engine == "" {
		return nil, nil
	}
	file, err := os.Open(c.engine)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return nil, fmt.Errorf("read %s: %w", c.engine, err)
	}
	out := cdx.Component{
		BOMRef: "libchdb", Type: cdx.ComponentTypeLibrary, Name: "libchdb",
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum.Sum(nil))}},
	}
	version, err := os.ReadFile(strings.TrimSuffix(c.engine, ".so") + ".version") // as `make engine` leaves it
	if fields := strings.Fields(string(version)); err == nil && len(fields) > 0 {
		out.Version = fields[0]
	}
	return []cdx.Component{out}, nil
}
