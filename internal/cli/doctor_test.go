package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/agent"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestKernelDoctor(t *testing.T) {
	testenv.RequireKernel(t)
	f := func(args ...string) string {
		t.Helper()
		cmd := newDoctorCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs(args)
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		return out.String()
	}
	table := f()
	if !strings.Contains(table, "tp_btf/inet_sock_set_state") || !strings.Contains(table, "\nThis machine can be watched.\n") {
		t.Errorf("table:\n%s", table)
	}
	var d agent.Diagnosis
	if err := json.Unmarshal([]byte(f("-o", "json")), &d); err != nil || !d.Ready || len(d.Checks) < 10 {
		t.Errorf("%+v, %v", d, err)
	}
	if rows := strings.Count(f("-o", "csv"), "\n"); rows < len(d.Checks)+1 {
		t.Errorf("%d lines of CSV for %d checks", rows, len(d.Checks))
	}
}
