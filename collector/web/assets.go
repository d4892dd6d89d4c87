package web

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// dist is what `make web` makes of src: scripts and styles with hashes in their names, and a list of them.
//
//go:embed all:dist
var dist embed.FS

// assets serves what pages load.
type assets struct {
	built bool
	names map[string]string // by what templates call them
	files map[string]string // types, by name
}

var types = map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".svg": "image/svg+xml"}

func openAssets() (*assets, error) {
	a := &assets{names: map[string]string{}, files: map[string]string{}}
	data, err := dist.ReadFile("dist/manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &a.names)
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of assets: %w", err)
	}
	entries, err := dist.ReadDir("dist")
	if err != nil {
		return nil, fmt.Errorf("read the assets: %w", err)
	}
	for _, e := range entries {
		if t := types[path.Ext(e.Name())]; t != "" {
			a.files[e.Name()] = t
		}
	}
	a.built = true
	return a, nil
}

// path is where an asset is, by the name that src gives it.
func (a *assets) path(name string) string {
	if hashed := a.names[name]; hashed != "" {
		return "/assets/" + hashed
	}
	return "/assets/" + name
}

// ServeHTTP implements [http.Handler]. Names with a hash never change what they mean.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/assets/")
	kind, ok := a.files[name]
	if !ok {
		http.Error(w, "there is no such asset", http.StatusNotFound)
		return
	}
	data, err := dist.ReadFile("dist/" + name)
	if err != nil {
		http.Error(w, "there is no such asset", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	if name == "licenses.txt" {
		h.Set("Cache-Control", "no-cache")
	} else {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(data)
}
