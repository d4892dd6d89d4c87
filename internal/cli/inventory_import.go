package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/inventory"
)

// kinds of content, by format.
var importFormats = map[string]string{"csv": "text/csv", "json": "application/json", "spire": "application/json"}

func newInventoryImportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Take lists of what should exist",
		Long: `Take lists of what should exist: CSV, JSON, or what "spire-server entry show -output json" prints.

A list is whole: what it does not hold any more counts as gone. Importing it again changes nothing. The name of the file without its
ending tells which list it is; --source gives another name. The file - is standard input.

CSV needs a first line of column names: identity, and any of kind, namespace, name, owner, purpose, environment, domain, privilege,
business_function, created, expires, and label:<key> for anything else. JSON is {"declarations": [{"identity": "spiffe://…", …}]}
with fields of the same names.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s takes at least one file, or - for standard input; %s --help says more", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
	}
	server, form := serverFlag(cmd), outputFlag(cmd)
	tokenFile := cmd.Flags().String("token-file", "", "file with the token that allows changes (default: that of AMBIT_TOKEN_FILE, else of the default data folder)")
	format := cmd.Flags().String("format", "", "csv, json or spire (default: by what the file holds)")
	source := cmd.Flags().String("source", "", "name of the list (default: that of the file)")
	dry := cmd.Flags().Bool("dry-run", false, "only say what would change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if _, known := importFormats[*format]; *format != "" && !known {
			return usagef("format %q is not csv, json or spire", *format)
		}
		names, err := sourceNames(args, *source)
		if err != nil {
			return err
		}
		token, err := findToken(*tokenFile)
		if err != nil {
			return err
		}
		i := &importer{cmd: cmd, c: c, token: token, dry: *dry}
		imported := []api.Imported{}
		for n, file := range args {
			one, err := i.send(file, names[n], *format)
			if err != nil {
				return fmt.Errorf("import %s: %w", file, err)
			}
			imported = append(imported, *one)
		}
		if err := print(cmd.OutOrStdout(), *form, imported, imported, importedColumns()); err != nil {
			return err
		}
		return i.refused(args, imported)
	}
	return cmd
}

// sourceNames gives each file the name of its list.
func sourceNames(files []string, name string) ([]string, error) {
	if name != "" && len(files) > 1 {
		return nil, usagef("--source names one list, but there are %d files", len(files))
	}
	var names []string
	for _, file := range files {
		own := name
		if own == "" && file == "-" {
			return nil, usagef("standard input has no name: give the list one with --source")
		}
		if own == "" {
			own = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		}
		if slices.Contains(names, own) {
			return nil, usagef("the list %s is given twice, and the second would replace the first: import them one by one with --source", own)
		}
		names = append(names, own)
	}
	return names, nil
}

type importer struct {
	cmd   *cobra.Command
	c     *client
	token string
	dry   bool
}

func (i *importer) send(file, name, format string) (*api.Imported, error) {
	data, err := i.read(file)
	if err != nil {
		return nil, err
	}
	if format == "" {
		format = formatOf(file, data)
	}
	query := url.Values{"source": {format}, "name": {name}}
	if i.dry {
		query.Set("dry_run", "true")
	}
	p := &sending{r: bytes.NewReader(data), name: file, total: len(data), out: terminal(i.cmd.ErrOrStderr())}
	defer p.done()
	var out api.Imported
	err = i.c.post(i.cmd.Context(), "/api/v1/inventory", query, i.token, importFormats[format], p, int64(len(data)), &out)
	return &out, err
}

func (i *importer) read(file string) ([]byte, error) {
	in := i.cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if path := new(fs.PathError); errors.As(err, &path) {
			return nil, path.Err // its name is known
		} else if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, inventory.MaxBytes+1))
	if err == nil && len(data) > inventory.MaxBytes {
		err = usagef("it is larger than %d MiB: split it, with a --source of its own for each part", inventory.MaxBytes>>20)
	}
	return data, err
}

// formatOf looks at the name, and at what JSON holds.
func formatOf(file string, data []byte) string {
	text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	ending := strings.ToLower(filepath.Ext(file))
	likely := len(text) > 0 && (text[0] == '{' || text[0] == '[')
	if ending == ".csv" || ending != ".json" && !likely {
		return "csv"
	}
	var entries struct {
		Entries json.RawMessage `json:"entries"`
	}
	if json.Unmarshal(text, &entries) == nil && entries.Entries != nil {
		return "spire"
	}
	return "json"
}

// refused tells which entries were not taken.
func (i *importer) refused(files []string, imported []api.Imported) error {
	total := 0
	for n := range imported {
		for _, r := range imported[n].Refusals {
			fmt.Fprintf(i.cmd.ErrOrStderr(), "%s: %s\n", oneLineText(files[n]), oneLineText(r.String()))
		}
		if more := imported[n].Refused - len(imported[n].Refusals); more > 0 {
			fmt.Fprintf(i.cmd.ErrOrStderr(), "%s: and %d more\n", oneLineText(files[n]), more)
		}
		total += imported[n].Refused
	}
	if total == 0 {
		return nil
	}
	return fmt.Errorf("%d entries were refused; repair them and import the list again: until then, nothing that is missing in it counts as gone", total)
}

func importedColumns() []column[api.Imported] {
	type row = api.Imported
	number := func(name string, f func(*row) int) column[row] {
		show := func(r *row) string { return fmt.Sprint(f(r)) }
		return column[row]{strings.ToUpper(name), show, name, show}
	}
	name, kind := func(r *row) string { return r.Name }, func(r *row) string { return string(r.Source) }
	return []column[row]{
		{"LIST", name, "name", name}, {"FORMAT", kind, "source", kind},
		number("added", func(r *row) int { return r.Added }), number("changed", func(r *row) int { return r.Changed }),
		number("unchanged", func(r *row) int { return r.Unchanged }), number("gone", func(r *row) int { return r.Gone }),
		number("kept", func(r *row) int { return r.Kept }), number("refused", func(r *row) int { return r.Refused }),
	}
}

// sending tells how much of a long list was sent.
type sending struct {
	r     io.Reader
	name  string
	total int
	sent  int
	out   io.Writer // nil: tell nothing
	last  time.Time
	told  bool
}

// longList is worth a word, in bytes.
const longList = 1 << 20

func (p *sending) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.sent += n
	if p.out == nil || p.total < longList {
		return n, err
	}
	if now := time.Now(); err == nil && now.Sub(p.last) >= 200*time.Millisecond || err == io.EOF {
		p.last, p.told = now, true
		what := "sending"
		if p.sent == p.total {
			what = "storing"
		}
		fmt.Fprintf(p.out, "\r\x1b[K%s %s: %s of %s", what, oneLineText(p.name), size(uint64(p.sent)), size(uint64(p.total)))
	}
	return n, err
}

// done takes the words away.
func (p *sending) done() {
	if p.told {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// terminal is w if a person looks at it.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return w
		}
	}
	return nil
}
