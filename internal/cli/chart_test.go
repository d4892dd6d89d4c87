package cli

import (
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestChartSettings reads the settings and flags that the chart gives to containers as the program does.
func TestChartSettings(t *testing.T) {
	scenarios, err := filepath.Glob("../../deploy/testdata/values/*.yaml")
	if err != nil || len(scenarios) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	helm := testenv.Program(t, "deploy", "helm", "deploy-tools")
	read := 0
	for _, values := range scenarios {
		var errs bytes.Buffer
		cmd := exec.Command(helm, "template", "ambit", "../../deploy/chart", "--values", values)
		cmd.Env, cmd.Stderr = []string{"HOME=" + t.TempDir()}, &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", values, err, errs.String())
		}
		for documents := yaml.NewDecoder(bytes.NewReader(out)); ; {
			var object struct {
				Kind     string
				Metadata struct{ Name string }
				Data     map[string]string
				Spec     struct {
					Template struct {
						Spec struct {
							Containers     []struct{ Args []string }
							InitContainers []struct{ Args []string } `yaml:"initContainers"`
						}
					}
				}
			}
			if err := documents.Decode(&object); err == io.EOF {
				break
			} else if err != nil {
				continue // of another shape
			}
			name := values + ": " + object.Metadata.Name
			if text, ok := object.Data["ambit.yaml"]; ok {
				command := newCollectorCommand()
				if strings.HasSuffix(object.Metadata.Name, "-agent") {
					command = newAgentCommand()
				}
				if err := command.ParseFlags([]string{"--config", writeFile(t, "ambit.yaml", text)}); err != nil {
					t.Fatal(err)
				}
				if _, err := loadConfig(command.Flags()); err != nil {
					t.Errorf("%s: %v\n%s", name, err, text)
				}
				read++
			}
			for _, c := range append(object.Spec.Template.Spec.InitContainers, object.Spec.Template.Spec.Containers...) {
				if object.Kind == "DaemonSet" || object.Kind == "Job" || strings.HasSuffix(object.Metadata.Name, "-collector") {
					checkArgs(t, name, c.Args)
				}
			}
		}
	}
	if read < 2*len(scenarios)-1 {
		t.Errorf("only %d settings were read", read)
	}
}

// checkArgs parses a command line without running it.
func checkArgs(t *testing.T, name string, args []string) {
	t.Helper()
	var command *cobra.Command
	command, rest, err := newRoot().Find(args)
	if err == nil && command.HasParent() {
		err = command.ParseFlags(rest)
	}
	if err == nil {
		err = command.ValidateArgs(command.Flags().Args())
	}
	if err != nil || !command.HasParent() {
		t.Errorf("%s: %q is no command of ambit: %v", name, args, err)
	}
}
