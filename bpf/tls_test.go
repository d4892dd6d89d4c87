package bpf

import (
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

func watchTLS(t *testing.T) (*Kernel, *TLS) {
	t.Helper()
	return watchTLSBy(t, (*Kernel).LoadTLS)
}

// watchOldTLS does as on kernels without attach cookies.
func watchOldTLS(t *testing.T) (*Kernel, *TLS) {
	t.Helper()
	return watchTLSBy(t, func(k *Kernel) (*TLS, error) {
		spec, err := loadTls()
		if err != nil {
			return nil, err
		}
		return k.loadTLS(spec, false, false)
	})
}

func watchTLSBy(t *testing.T, load func(*Kernel) (*TLS, error)) (*Kernel, *TLS) {
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
	tls, err := load(k)
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

// TestKernelTLSProgramSizes is as TestKernelProgramSizes. Of the hooks that stand in for one another, those are measured that the kernel takes.
func TestKernelTLSProgramSizes(t *testing.T) {
	testConfig(t)
	spec, err := loadTls()
	if err != nil {
		t.Fatal(err)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	measured := 0
	for name := range spec.Programs {
		one := only(spec, name)
		c, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
		if err != nil {
			if !standsIn(name) {
				t.Errorf("%s: %+v", name, err)
			}
			continue
		}
		log := c.Programs[name].VerifierLog
		c.Close()
		m := verified.FindStringSubmatch(log)
		if m == nil {
			t.Errorf("%s: the verifier does not tell what it did: %q", name, log)
			continue
		}
		measured++
		t.Logf("verified %s: %s instructions, %s states", name, m[1], m[2])
		if n, err := strconv.Atoi(m[1]); err != nil || n > 100_000 {
			t.Errorf("%s: %s instructions were verified", name, m[1])
		}
	}
	if want := len(spec.Programs) - len(socketHooks); measured < want {
		t.Errorf("%d programs were measured, want %d", measured, want)
	}
}

// standsIn says whether a program is one of two that do the same.
func standsIn(program string) bool {
	for _, pair := range socketHooks {
		if pair[0].program == program || pair[1].program == program {
			return true
		}
	}
	return false
}
