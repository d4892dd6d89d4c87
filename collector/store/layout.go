package store

import (
	"fmt"
	"regexp"
	"strings"
)

// shardedBy holds every table, with what decides on which shard of a cluster a row stands. What is known of one identity stands on one shard,
// so that the views, which run where the rows are, have all of it.
var shardedBy = map[string]string{
	"observations":       "identity",
	"observations_daily": "identity",
	"sightings":          "identity",
	"identities":         "identity",
	"reach":              "identity",
	"reach_tls":          "identity",
	"attribution":        "identity",
	"credentials":        "holder", // only the view writes it, where the observation stands; questions add up all shards
	"findings":           "identity",
	"finding_status":     "id",
	"inventory":          "identity",
	"inventory_sources":  "source, name",
	"coverage":           "node",
	"coverage_gaps":      "node",
	"coverage_daily":     "node",
	"links":              "identity", // only the view writes it, where the row of reach stands; questions add up all shards
	"exposure":           "identity", // likewise
	"exemptions":         "identity",
	"reviews":            "identity",
	"report_runs":        "report",
	"report_items":       "identity",
	"audit":              "number",
	"decisions":          "id",
	"decision_acks":      "decision",
	"scopes":             "identity",
}

// layout renders what differs between one server (the zero layout) and a cluster.
//
// On a cluster, rows stand in tables with the suffix _local, replicated within a shard, and views run on these. Beside each stands a
// Distributed table without the suffix, which all questions and inserts name, so that they are the same in both forms.
//
// An insert goes through the Distributed table, in the foreground: it returns when every shard has its part, and the token goes with it. The
// sharding key gives the same parts at each repetition, so that each shard knows by the token whether it has its own, whatever became of the
// others. The collector does not choose shards itself: it would have to know every server, and gain nothing, since the server's way is as
// deterministic. Hence the one rule for operators: do not change the number or weights of shards while an insert is pending, that is, stop the
// collectors and let the last one settle first.
//
// A shard that is acknowledged by one replica loses rows with that replica's disk. Who fears that sets insert_quorum in the profile of Ambit's
// user; Ambit leaves it alone, since a quorum of two stops all inserts while one of two replicas is away.
type layout struct {
	cluster  string
	database string
}

// OnCluster goes behind the name of a table.
func (l layout) OnCluster() string {
	if l.cluster == "" {
		return ""
	}
	return "ON CLUSTER " + quote(l.cluster)
}

// Engine names an engine of the MergeTree family.
func (l layout) Engine(name string, arguments ...string) string {
	if l.cluster != "" {
		// A path with names, not with the table's UUID: a replica that is added later is made with the same statement.
		arguments = append([]string{"'/clickhouse/tables/{shard}/{database}/{table}'", "'{replica}'"}, arguments...)
		name = "Replicated" + name
	}
	return name + "(" + strings.Join(arguments, ", ") + ")"
}

// local is the table that holds the rows.
func (l layout) local(table string) string {
	if l.cluster == "" {
		return table
	}
	return table + "_local"
}

// windows of repetition on a cluster. All collectors share one, each with an insert a second, hence ten times that of one server; and it must
// be as long as the stream keeps what is not inserted yet; ClickHouse's own is an hour.
const (
	windowOfServer  = "non_replicated_deduplication_window = 10000"
	windowOfCluster = "replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 1209600"
)

var (
	namesTable    = regexp.MustCompile(`\b(CREATE TABLE IF NOT EXISTS|ALTER TABLE|TO|FROM) ([a-z_]+)\b`)
	createsTable  = regexp.MustCompile(`(?m)^CREATE TABLE IF NOT EXISTS ([a-z_]+)\b`)
	changesColumn = regexp.MustCompile(`(?m)^ALTER TABLE ([a-z_]+) .*\b(?:ADD|DROP|MODIFY|RENAME) COLUMN\b`)
)

// spread makes of a statement for one server those for a cluster.
func (l layout) spread(statement string) ([]string, error) {
	if l.cluster == "" {
		return []string{statement}, nil
	}
	here := namesTable.ReplaceAllStringFunc(statement, func(s string) string {
		m := namesTable.FindStringSubmatch(s)
		if shardedBy[m[2]] == "" {
			return s
		}
		return m[1] + " " + l.local(m[2])
	})
	out := []string{strings.ReplaceAll(here, windowOfServer, windowOfCluster)}
	if m := createsTable.FindStringSubmatch(statement); m != nil {
		by := shardedBy[m[1]]
		if by == "" {
			return nil, fmt.Errorf("table %s has no sharding key", m[1])
		}
		out = append(out, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s %s AS %s\nENGINE = Distributed(%s, %s, %s, cityHash64(%s))",
			m[1], l.OnCluster(), l.local(m[1]), text(l.cluster), text(l.database), text(l.local(m[1])), by))
	}
	if changesColumn.MatchString(statement) {
		out = append(out, statement)
	}
	return out, nil
}

// quote writes an identifier.
func quote(name string) string { return "`" + escape(name, '`') + "`" }

// text writes a string.
func text(s string) string { return "'" + escape(s, '\'') + "'" }

func escape(s string, mark byte) string {
	return strings.NewReplacer(`\`, `\\`, string(mark), `\`+string(mark)).Replace(s)
}
