package bpf

import (
	"testing"
)

func watchTLS(t *testing.T) (*Kernel, *TLS) {
	t.Helper()
	k, err := Load(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	tls, err := k.LoadTLS()
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return k, tls
}

func TestKernelTLSTakesEveryHook(t *testing.T) {
	_, tls := watchTLS(t)
	for _, m := range tls.Missing() {
		t.Errorf("%s (%s): %v", m.Name, m.Purpose, m.Err)
	}
	for _, s := range ProbeTLS() {
		if s.Err != nil {
			t.Errorf("probe %s: %+v", s.Name, s.Err)
		}
	}
}
