package svid

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// folder holds certificate files.
type folder struct {
	t   *testing.T
	dir string
}

func (f folder) config() Config {
	return Config{Cert: filepath.Join(f.dir, "tls.crt"), Key: filepath.Join(f.dir, "tls.key"), CA: filepath.Join(f.dir, "ca.crt"), Poll: 5 * time.Millisecond}
}

func (f folder) write(dir, name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) writeAll(dir string, i *testenv.Issued, cas ...*testenv.CA) {
	f.t.Helper()
	cert, key := i.PEM()
	f.write(dir, "tls.crt", cert)
	f.write(dir, "tls.key", key)
	f.write(dir, "ca.crt", testenv.CertificatePEM(certs(cas...)...))
}

func (f folder) rename(from, to string) {
	f.t.Helper()
	if err := os.Rename(filepath.Join(f.dir, from), filepath.Join(f.dir, to)); err != nil {
		f.t.Fatal(err)
	}
}

// awaitCertificate waits until a source shows it.
func (r *running) awaitCertificate(i *testenv.Issued) {
	r.t.Helper()
	await(r.t, "a certificate", func() bool { return r.current().leaf().Equal(i.Certificate) }, r.Status)
}

// TestFiles rotates files by writing over them, by renaming, and leaves them half written.
func TestFiles(t *testing.T) {
	t.Parallel()
	ca, next := testenv.NewCA(t, "shop"), testenv.NewCA(t, "shop again")
	f := folder{t, t.TempDir()}
	f.writeAll(f.dir, ca.SVID(agentID), ca)
	s := run(t, f.config())
	s.awaitReady()
	s.awaitStatus("SVID of " + agentID + " valid until ")
	if v := s.JudgeDER([][]byte{ca.SVID("spiffe://shop.example/a").Certificate.Raw}, time.Now()); !v.Verified {
		t.Errorf("an SVID of the own trust domain: %+v", v)
	}
	if v := s.JudgeDER([][]byte{ca.SVID("spiffe://other.example/a").Certificate.Raw}, time.Now()); v.Cause != CauseNoBundle {
		t.Errorf("an SVID of another trust domain: %+v", v)
	}

	second := ca.SVID(agentID)
	cert, key := second.PEM()
	f.write(f.dir, "tls.crt", cert) // for a while it is not the one of its key
	await(t, "a fault", func() bool { return s.Counters()[unreadable] == 1 }, s.Status)
	s.awaitStatus("certificate file", "unreadable since", "SVID of "+agentID+" ends in ", "tls.key")
	if s.Ready() != nil {
		t.Errorf("the former certificate was lost: %s", s.Status())
	}
	f.write(f.dir, "tls.key", key)
	s.awaitCertificate(second)
	s.awaitStatus("valid until")

	third := ca.SVID(agentID)
	cert, key = third.PEM()
	f.write(f.dir, "new.crt", cert)
	f.write(f.dir, "new.key", key)
	f.rename("new.crt", "tls.crt")
	f.rename("new.key", "tls.key")
	s.awaitCertificate(third)

	both := testenv.CertificatePEM(certs(ca, next)...)
	f.write(f.dir, "ca.crt", both[:len(both)-100])
	await(t, "half a file to be refused", func() bool { return strings.Contains(s.Status(), "breaks off") }, s.Status)
	f.write(f.dir, "ca.crt", both)
	await(t, "both authorities", func() bool {
		return s.JudgeDER([][]byte{next.SVID("spiffe://shop.example/a").Certificate.Raw}, time.Now()).Verified
	}, s.Status)

	if err := os.Remove(filepath.Join(f.dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	s.awaitStatus("unreadable since", "ca.crt", "no such file")
	f.write(f.dir, "ca.crt", both)
	s.awaitStatus("valid until")
	if got := s.Counters(); got[rotated] != 2 || got[bundlesChanged] != 1 {
		t.Errorf("counters are %v", got)
	}
}

// TestFilesOfSecret swaps a folder under its link, as the kubelet does with the files of a Secret.
func TestFilesOfSecret(t *testing.T) {
	t.Parallel()
	ca := testenv.NewCA(t, "shop")
	f := folder{t, t.TempDir()}
	mount := func(version string, i *testenv.Issued) {
		dir := filepath.Join(f.dir, version)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		f.writeAll(dir, i, ca)
		if err := os.Symlink(version, filepath.Join(f.dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		f.rename("..data_tmp", "..data")
	}
	mount("..1", ca.SVID(agentID))
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(f.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := run(t, f.config())
	s.awaitReady()
	for _, version := range []string{"..2", "..3", "..4"} {
		i := ca.SVID(agentID)
		mount(version, i)
		s.awaitCertificate(i)
	}
	if got := s.Counters(); got[unreadable] != 0 || got[rotated] != 3 {
		t.Errorf("counters are %v", got)
	}
}

// TestFilesAtStart checks that what is wrong at the start is an error that names the file.
func TestFilesAtStart(t *testing.T) {
	t.Parallel()
	ca := testenv.NewCA(t, "shop")
	for name, c := range map[string]struct {
		spoil func(f folder)
		words []string
	}{
		"no certificate": {func(f folder) { os.Remove(filepath.Join(f.dir, "tls.crt")) }, []string{"tls.crt", "no such file"}},
		"no key":         {func(f folder) { f.write(f.dir, "tls.key", nil) }, []string{"tls.key"}},
		"other key":      {func(f folder) { _, key := ca.SVID(agentID).PEM(); f.write(f.dir, "tls.key", key) }, []string{"tls.key", "does not match"}},
		"no authority":   {func(f folder) { f.write(f.dir, "ca.crt", []byte("nothing")) }, []string{"ca.crt", "no PEM certificate"}},
		"bad authority": {func(f folder) {
			f.write(f.dir, "ca.crt", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}, []string{"ca.crt", "certificate 1"}},
		"large": {func(f folder) { f.write(f.dir, "ca.crt", make([]byte, maxFile+1)) }, []string{"ca.crt", "1 MiB"}},
		"folder": {func(f folder) {
			os.Remove(filepath.Join(f.dir, "ca.crt"))
			os.Mkdir(filepath.Join(f.dir, "ca.crt"), 0o700)
		}, []string{"ca.crt", "not a regular file"}},
		"expired": {func(f folder) {
			f.writeAll(f.dir, ca.Issue(testenv.Leaf{URIs: []string{agentID}, NotAfter: time.Now().Add(-time.Minute)}), ca)
		}, []string{"tls.crt", "ended at"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := folder{t, t.TempDir()}
			f.writeAll(f.dir, ca.SVID(agentID), ca)
			c.spoil(f)
			s, err := New(f.config())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err = s.Run(ctx, func() { t.Error("ready") })
			if err == nil || !hasAll(err.Error(), c.words) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("%v", err)
			}
		})
	}
}
