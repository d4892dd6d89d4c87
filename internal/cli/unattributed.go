package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
)

// unattributedRow is one reason of one identity.
type unattributedRow struct {
	event.Identity
	api.Unattributed
}

// printUnattributed prints one row for each identity and reason. Below a table, the reasons that occur are explained.
func printUnattributed(w io.Writer, form output, page *api.Page[api.Identity], now time.Time) error {
	rows := []unattributedRow{}
	for i := range page.Items {
		for _, u := range page.Items[i].Unattributed {
			rows = append(rows, unattributedRow{page.Items[i].Identity, u})
		}
	}
	if err := print(w, form, page, rows, unattributedColumns(now)); err != nil || form != outputTable {
		return err
	}
	if len(rows) == 0 {
		fmt.Fprintln(w, "\nNothing is unattributed.")
		return nil
	}
	var told []event.Unattributed
	for i := range rows {
		if u := &rows[i].Unattributed; !slices.Contains(told, u.Reason) {
			told = append(told, u.Reason)
			fmt.Fprintf(w, "\n%s: %s %s", oneLineText(string(u.Reason)), oneLineText(u.Meaning), oneLineText(u.Remedy))
		}
	}
	fmt.Fprintln(w)
	return nil
}

func unattributedColumns(now time.Time) []column[unattributedRow] {
	type row = unattributedRow
	identity := func(r *row) string { return r.Identity.String() }
	reason := func(r *row) string { return string(r.Reason) }
	connections := func(r *row) string { return strconv.FormatUint(r.Connections, 10) }
	nodes := func(r *row) string { return strings.Join(r.Nodes, " ") }
	executable, cgroup := func(r *row) string { return r.Executable }, func(r *row) string { return r.Cgroup }
	return []column[row]{
		{"IDENTITY", identity, "identity", identity},
		{"REASON", reason, "reason", reason},
		{"CONNECTIONS", connections, "connections", connections},
		{"NODES", nodes, "nodes", nodes},
		{"LAST", func(r *row) string { return ago(&r.LastTime, now) }, "last_time", func(r *row) string { return stamp(&r.LastTime) }},
		{"EXECUTABLE", executable, "executable", executable},
		{"CGROUP", cgroup, "cgroup", cgroup},
		{Name: "meaning", Value: func(r *row) string { return r.Meaning }},
		{Name: "remedy", Value: func(r *row) string { return r.Remedy }},
	}
}
