package cli

import "github.com/spf13/cobra"

// examples are those of commands that have none beside them, by path.
var examples = map[string]string{
	"ambit":                         "  sudo ambit up\n  ambit identities\n  ambit reach checkout\n  ambit findings --follow",
	"ambit up":                      "  sudo ambit up\n  sudo ambit up --data /var/lib/ambit --learn 7d\n  ambit up --no-agent --config ambit.yaml --check",
	"ambit agent":                   "  sudo ambit agent --config /etc/ambit/agent.yaml\n  sudo ambit agent --config /etc/ambit/agent.yaml --check",
	"ambit agent unpin":             "  sudo ambit agent unpin\n  sudo ambit agent unpin --purge --data /var/lib/ambit --wait 1m",
	"ambit agent unpinned":          "  ambit agent unpinned ambit/ambit-unpin --wait 5m",
	"ambit collector":               "  ambit collector --config /etc/ambit/collector.yaml\n  ambit collector --config /etc/ambit/collector.yaml --check",
	"ambit clickhouse":              "  ambit clickhouse --data ./ambit-data/clickhouse --socket /run/ambit/clickhouse.sock",
	"ambit doctor":                  "  sudo ambit doctor",
	"ambit explain":                 "  ambit explain new-resource-5f2b8c1d4e6a7b8c9d0e1f2a",
	"ambit feeds":                   "  ambit feeds status\n  ambit feeds test siem",
	"ambit feeds status":            "  ambit feeds status -o json",
	"ambit feeds test":              "  ambit feeds test siem",
	"ambit findings":                "  ambit findings --severity high\n  ambit findings --follow -o json\n  ambit findings --status new --fail-on-findings",
	"ambit findings ack":            "  ambit findings ack new-resource-5f2b",
	"ambit findings approve":        "  ambit findings approve new-resource-5f2b --reason 'the new supplier'",
	"ambit findings false-positive": "  ambit findings false-positive new-resource-5f2b --reason 'a load balancer was renamed'",
	"ambit findings reopen":         "  ambit findings reopen new-resource-5f2b",
	"ambit findings resolve":        "  ambit findings resolve new-resource-5f2b",
	"ambit findings suppress":       "  ambit findings suppress new-resource-5f2b --until 7d --reason 'a load test'",
	"ambit findings true-positive":  "  ambit findings true-positive new-resource-5f2b --reason 'the token was stolen'",
	"ambit findings unsuppress":     "  ambit findings unsuppress new-resource-5f2b",
	"ambit identities":              "  ambit identities --state stable\n  ambit identities --query /ns/shop/ -o csv",
	"ambit inventory":               "  ambit inventory import accounts.csv\n  ambit inventory list",
	"ambit inventory import":        "  ambit inventory import accounts.csv --dry-run",
	"ambit inventory list":          "  ambit inventory list --source kubernetes -o json",
	"ambit reach":                   "  ambit reach checkout\n  ambit reach checkout --direction inbound -o json",
	"ambit replay":                  "  ambit replay recording.jsonl.gz\n  zcat recording.jsonl.gz | ambit replay -",
	"ambit report":                  "  ambit report unused --window 90d\n  ambit report high-risk -o csv",
	"ambit report coverage":         "  ambit report coverage --window 30d",
	"ambit report exemptions":       "  ambit report exemptions",
	"ambit version":                 "  ambit version",
}

// giveExamples gives each command the example that stands above.
func giveExamples(c *cobra.Command) {
	if text, ok := examples[c.CommandPath()]; ok && c.Example == "" {
		c.Example = text
	}
	for _, sub := range c.Commands() {
		giveExamples(sub)
	}
}
