package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMirrorOf(t *testing.T) {
	f := func(targets, want string) {
		t.Helper()
		got, err := mirrorOf(targets)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	f("", "")
	f("https://deb.example/other nodistro main\n", "")
	f("https://deb.example/security bookworm-security main\nhttps://deb.example/debian bookworm contrib\nhttps://deb.example/debian bookworm main\n", "https://deb.example/debian")
	f("https://deb.example/a sid main\nhttps://deb.example/b sid main\n", "https://deb.example/a")
}

func TestNewestKernel(t *testing.T) {
	f := func(depends, image, binary string) {
		t.Helper()
		about := []byte("Package: x\nDepends: " + depends + "\nDescription: y\n")
		if got := imageOf.FindString(field(about, "Depends")); got != image {
			t.Errorf("image is %q, want %q", got, image)
		}
		if got := binaryOf.FindString(field(about, "Depends")); got != binary {
			t.Errorf("binary is %q, want %q", got, binary)
		}
	}
	f("linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)", "linux-image-6.1.0-50-cloud-amd64", "")
	f("linux-base-cloud-amd64 (= 7.2.13-1), linux-image-7.2.13+deb14-cloud-amd64 (= 7.2.13-1)", "linux-image-7.2.13+deb14-cloud-amd64", "")
	f("dracut | initramfs-tools, linux-binary-7.2.13+deb14-cloud-amd64 (= 7.2.13-1)", "", "linux-binary-7.2.13+deb14-cloud-amd64")
}

func TestRelease(t *testing.T) {
	f := func(version, want string) {
		t.Helper()
		if got := (kernel{version: version}).release(); got != want {
			t.Errorf("release of %s is %q, want %q", version, got, want)
		}
	}
	f("5.10.223-1", "5.10.223")
	f("6.12.95-1~bpo12+1", "6.12.95")
	f("7.3~rc1-1~exp1", "7.3")
}

func TestRefresh(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "kernel")
	p := newProgress(io.Discard)
	f := func(fresh bool, fetch func(string) (string, error), want string, wantErr bool) {
		t.Helper()
		got, err := refresh(t.Context(), folder, fresh, p, fetch)
		if got != want || (err != nil) != wantErr {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		if wantErr {
			return
		}
		if b, err := os.ReadFile(filepath.Join(folder, "file")); err != nil || string(b) != want {
			t.Errorf("the folder holds %q, %v, want %q", b, err, want)
		}
	}
	gives := func(version string) func(string) (string, error) {
		return func(into string) (string, error) {
			return version, os.WriteFile(filepath.Join(into, "file"), []byte(version), 0o644)
		}
	}
	refuses := func(into string) (string, error) {
		return "", errors.Join(os.WriteFile(filepath.Join(into, "file"), nil, 0o644), errors.New("no answer"))
	}
	f(false, refuses, "", true)
	f(false, gives("1"), "1", false)
	f(false, gives("2"), "1", false) // young enough
	f(true, gives("3"), "3", false)
	f(true, refuses, "3", false)
	old := time.Now().Add(-keepFor - time.Hour)
	if err := os.Chtimes(filepath.Join(folder, "VERSION"), old, old); err != nil {
		t.Fatal(err)
	}
	f(false, gives("4"), "4", false)
}

func TestOutput(t *testing.T) {
	if b, err := output(exec.Command("echo", "-q", "word")); err != nil || string(b) != "-q word\n" {
		t.Errorf("got %q, %v", b, err)
	}
	_, err := output(exec.Command("sh", "-c", "echo first >&2; echo last >&2; exit 3", "-o", "setting", "argument"))
	if err == nil || strings.Contains(err.Error(), "setting") || !strings.HasSuffix(err.Error(), "argument: exit status 3: last") {
		t.Errorf("error is %v", err)
	}
}
