package web_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/ambit-nhi/ambit/collector/store"
)

var scale = flag.Bool("scale", false, "measure the pages of a large estate: 50,000 identities with 1,000,000 edges, 20,000 findings")

const (
	scaleIdentities = 50_000
	scaleEdges      = 20 // of each
	scaleFindings   = 20_000
)

// scaleSQL fills a database within the engine. Five hundred services reach each other, so that there is a large neighbourhood to draw.
func scaleSQL() []string {
	const name = "concat('spiffe://bench.example/ns/ns', toString((%[1]s) %% 200), '/sa/svc', toString(%[1]s))"
	identity := fmt.Sprintf(name, "i")
	peer := fmt.Sprintf(name, "multiIf(i < 500, (i + j * 25 + 1) % 500, (i * 7 + j * 977 + 1) % 50000)")
	out := []string{fmt.Sprintf(`INSERT INTO findings (id, rule, title, severity, score, confidence, identity, resource, node, first_time, last_time, count, explanation, baseline, advice, owasp, attack, status, evidence, namespace, service_account)
SELECT concat('new-reach-', leftPad(hex(number), 24, '0')), 'new-reach', concat('svc', toString(number), ' reached something for the first time'), ['low', 'low', 'medium', 'high', 'critical'][number %% 5 + 1], 0.5, 0.9,
	%s, concat('dns:new', toString(number), '.example:443/tcp'), concat('node', toString(number %% 500)), now64(6) - INTERVAL number * 120 SECOND, now64(6) - INTERVAL number * 100 SECOND, 3,
	['It was never reached before.'], ['dns:db.example:5432/tcp'], ['Ask its owner.'], ['NHI5:2025'], ['T1021'], if(number %% 4 = 0, 'resolved', 'new'), 'kubernetes', concat('ns', toString(number %% 200)), concat('svc', toString(number))
FROM numbers(%d) SETTINGS insert_deduplicate = 0`, fmt.Sprintf(name, "number % 50000"), scaleFindings)}
	for from := 0; from < scaleIdentities; from += 10_000 {
		out = append(out, fmt.Sprintf(`INSERT INTO observations (batch_time, sequence, node, time, first_time, identity, evidence, namespace, service_account, owner, executable, direction, protocol, resource, peer_identity,
	peer_evidence, connections, bytes_sent, bytes_received)
WITH %[1]d + intDiv(number, %[5]d) AS i, number %% %[5]d AS j, now64(6) - INTERVAL (1 + (i + j) %% 30) * 20 HOUR AS at
SELECT now64(6), number, concat('node', toString(i %% 500)), at, at - INTERVAL 10 SECOND, %[2]s, 'kubernetes', concat('ns', toString(i %% 200)), concat('svc', toString(i)), concat('Deployment/svc', toString(i)),
	'/app/server', 'outbound', 'tcp', if(j < 10, concat(%[3]s, ':8443/tcp'), concat('dns:r', toString((i * 31 + j) %% 5000), '.example:443/tcp')), if(j < 10, %[3]s, ''), if(j < 10, 'kubernetes', ''), 3, 1000, 2000
FROM numbers(%[4]d) SETTINGS insert_deduplicate = 0, max_insert_block_size = 200000`, from, identity, peer, 10_000*scaleEdges, scaleEdges))
	}
	return append(out, `INSERT INTO coverage (node, boot, hour, from_time, until_time, lost, missing, version, kernel) SELECT concat('node', toString(number % 500)), 'b',
	toDateTime(now() - INTERVAL intDiv(number, 500) HOUR, 'UTC'), now64(6) - INTERVAL 40 DAY, now64(6) - INTERVAL intDiv(number, 500) HOUR, map(), [], '1', '6.1' FROM numbers(100000)`)
}

// TestScale prints how long the pages of a large estate take in a browser, and what it keeps in memory, beside what is to be: a first paint in 1 s, the next page
// of a list in 200 ms, a map in 1 s, 300 MB. It fails on more memory, and on times that are four times as long: how slow the machine is, or how busy, is not known.
func TestScale(t *testing.T) {
	if !*scale {
		t.Skip("it takes minutes: `make bench-web` runs it")
	}
	node, err := exec.LookPath("node")
	need(t, err == nil && exists(browserPath) && exists("dist/manifest.json"), "it needs node, Debian's chromium and `make web`")
	p := newProgram(t)
	p.start()
	c, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{"localhost:0"}, Auth: clickhouse.Auth{Database: store.Default().Database}, ReadTimeout: 10 * time.Minute,
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(p.data, "run", "clickhouse.sock"))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := time.Now()
	for _, sql := range scaleSQL() {
		if err := c.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%v in %.200s", err, sql)
		}
	}
	t.Logf("made in %.0fs", time.Since(begin).Seconds())
	p.stop()
	p.start()
	if *serveFor > 0 {
		fmt.Println("http://" + p.address)
		select {
		case <-time.After(*serveFor):
		case <-t.Context().Done():
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), node, "browser/scale.js")
	center := "spiffe://bench.example/ns/ns0/sa/svc0"
	cmd.Env = append(os.Environ(), "AMBIT_URL=http://"+p.address, "AMBIT_BROWSER="+browserPath, "AMBIT_CENTER="+url.QueryEscape(center), "AMBIT_IDENTITY="+url.PathEscape(center))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err, p.said())
	}
}
