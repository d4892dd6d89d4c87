package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is what the program calls itself; empty: what Go noted when it was built. It is set before Main is called.
var Version string

// buildInfo is what the binary knows of its making.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readBuildInfo() buildInfo {
	b := buildInfo{Version: cmp.Or(Version, "devel"), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; Version == "" && v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func newVersionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: noArgs}
	form := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		b, out := readBuildInfo(), cmd.OutOrStdout()
		switch *form {
		case outputJSON:
			return json.NewEncoder(out).Encode(b)
		case outputCSV:
			fmt.Fprintf(out, "version,revision,modified,go,platform\n%s,%s,%t,%s,%s\n", b.Version, b.Revision, b.Modified, b.Go, b.Platform)
		default:
			fmt.Fprintf(out, "ambit %s %s %s\n", b.Version, b.Go, b.Platform)
		}
		return nil
	}
	return cmd
}
