package feed

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// rsyslog is Debian's, which writes what it takes into a file, one message a line.
type rsyslog struct {
	t                       testing.TB
	dir, config, out, ca    string
	tls, udp, unix, program string
	p                       *process
	told                    map[string]string // uid and count of a line that was read
}

func freePort(t testing.TB, network string) string {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

func newRsyslog(t testing.TB) *rsyslog {
	t.Helper()
	r := &rsyslog{t: t, program: need(t, "rsyslogd", "rsyslog"), told: map[string]string{}}
	modules, _ := filepath.Glob("/usr/lib/*/rsyslog/lmnsd_gtls.so")
	if len(modules) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("rsyslog has no TLS: install the package rsyslog-gnutls")
		}
		t.Skip("rsyslog has no TLS: install the package rsyslog-gnutls")
	}
	var err error
	if r.dir, err = os.MkdirTemp("", "feed"); err != nil { // a socket's path is short
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(r.dir) })
	ca := testenv.NewCA(t, "syslog")
	cert, key := ca.Issue(testenv.Leaf{Names: []string{"127.0.0.1", "localhost"}}).PEM()
	r.ca, r.out, r.config = filepath.Join(r.dir, "ca.pem"), filepath.Join(r.dir, "out"), filepath.Join(r.dir, "conf")
	r.tls, r.udp, r.unix = freePort(t, "tcp"), freePort(t, "udp"), filepath.Join(r.dir, "log.sock")
	for name, data := range map[string][]byte{"ca.pem": testenv.CertificatePEM(ca.Certificate), "cert.pem": cert, "key.pem": key, "conf": fmt.Appendf(nil, `
global(workDirectory="%[1]s" maxMessageSize="64k" defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="%[1]s/ca.pem" defaultNetstreamDriverCertFile="%[1]s/cert.pem" defaultNetstreamDriverKeyFile="%[1]s/key.pem"
       parser.escapeControlCharactersOnReceive="off" parser.permitSlashInProgramName="on")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
module(load="imudp")
module(load="imuxsock" sysSock.use="off")
template(name="raw" type="string" string="%%rawmsg%%\n")
template(name="fields" type="string" string="%%syslogfacility%%|%%syslogseverity%%|%%hostname%%|%%app-name%%|%%msgid%%|%%structured-data%%|%%msg%%\n")
ruleset(name="all" queue.type="Direct") {
  action(type="omfile" file="%[1]s/out" template="raw" flushOnTXEnd="on")
  action(type="omfile" file="%[1]s/fields" template="fields" flushOnTXEnd="on")
}
input(type="imtcp" address="127.0.0.1" port="%[2]s" ruleset="all")
input(type="imudp" address="127.0.0.1" port="%[3]s" ruleset="all")
input(type="imuxsock" socket="%[4]s" ruleset="all" useSpecialParser="off" parseHostname="on" ignoreTimestamp="off" rateLimit.interval="0")
`, r.dir, port(r.tls), port(r.udp), r.unix)} {
		if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rsyslog) start() {
	r.t.Helper()
	r.p = run(r.t, r.program, "-n", "-f", r.config, "-i", filepath.Join(r.dir, "pid"))
	await(r.t, "rsyslog to listen", func() bool {
		c, err := net.Dial("tcp", r.tls)
		if err == nil {
			c.Close()
		} else {
			select {
			case <-r.p.done:
				r.t.Fatalf("rsyslog ended: %s", r.p.out)
			default:
			}
		}
		return err == nil
	})
}

// lines are those that are stored.
func (r *rsyslog) lines(name string) (out []string) {
	file, err := os.Open(filepath.Join(r.dir, name))
	if err != nil {
		return nil
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		out = append(out, s.Text())
	}
	return out
}

// counted gives the uid and count of each message that is stored, which must be of RFC 5424.
func (r *rsyslog) counted() (out []string) {
	r.t.Helper()
	for _, line := range r.lines("out") {
		told, known := r.told[line]
		if !known {
			s, err := parseSyslog(line)
			if err != nil {
				r.t.Fatalf("%v in %s", err, line)
			}
			if s.app == "ambit" {
				told = s.data["ambit@32473"]["uid"] + " " + s.data["finding@32473"]["count"]
			}
			r.told[line] = told
		}
		if told != "" {
			out = append(out, told)
		}
	}
	return out
}

// TestSyslog sends over TLS, UDP and a socket to rsyslog, restarts it in the middle of a burst, and compares what it stored.
func TestSyslog(t *testing.T) {
	t.Parallel()
	r := newRsyslog(t)
	b := newBus(t)
	findings := burst(t, 1500, 30)
	r.start()
	b.start(nil, map[string]any{"name": "tls", "transport": "syslog", "address": r.tls, "tls": map[string]any{"ca": r.ca}, "from": "all", "batch": map[string]any{"size": 200}})
	b.publish(findings[:500]...)
	await(t, "some to be stored", func() bool { return len(r.lines("out")) > 100 })
	r.p.stop(syscall.SIGTERM)
	b.publish(findings[500:1000]...)
	r.start()
	await(t, "the first to be stored", func() bool { return complete(r.counted(), findings[:1000]) })
	b.publish(findings[1000:]...)
	await(t, "all to be stored", func() bool { return complete(r.counted(), findings) })
	t.Logf("%d of %d were stored twice", checkOrder(t, r.counted(), findings), len(findings))
	want := "13|3|n1|ambit|new-reach|[ambit@32473 uid=\"" + findings[0].ID + "\" activity=\"create\""
	if got := r.lines("fields")[0]; !strings.HasPrefix(got, want) || !strings.Contains(got, findings[0].Title) {
		t.Errorf("rsyslog understands %s, want %s…", got, want)
	}
}

func TestSyslogDatagrams(t *testing.T) {
	r := newRsyslog(t)
	b := newBus(t)
	r.start()
	findings := burst(t, 40, 40)
	b.publish(findings...)
	for _, c := range []map[string]any{
		{"name": "socket", "network": "unix", "address": r.unix}, {"name": "datagrams", "network": "udp", "address": r.udp},
	} {
		if err := os.Truncate(r.out, 0); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		c["transport"], c["from"], c["format"] = "syslog", "all", "cef"
		feeds := b.start(nil, c)
		await(t, "all to be stored", func() bool {
			got := map[string]bool{}
			for _, line := range r.lines("out") {
				s, err := parseSyslog(strings.TrimLeft(line, "\x00"))
				if err != nil {
					t.Fatalf("%v in %s", err, line)
				}
				if s.app != "ambit" {
					continue
				}
				_, ext, err := parseCEF(s.text)
				if err != nil {
					t.Fatalf("%v in %s", err, line)
				}
				got[ext["externalId"]] = true
			}
			return len(got) == len(findings)
		})
		feeds.end()
	}
}

// TestSyslogUntrusted is not let connect to a receiver that somebody else vouches for.
func TestSyslogUntrusted(t *testing.T) {
	r := newRsyslog(t)
	b := newBus(t)
	r.start()
	other := filepath.Join(r.dir, "other.pem")
	if err := os.WriteFile(other, testenv.CertificatePEM(testenv.NewCA(t, "other").Certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	feeds := b.start(nil, map[string]any{"name": "tls", "transport": "syslog", "address": r.tls, "tls": map[string]any{"ca": other}, "from": "all"})
	b.publish(burst(t, 1, 1)...)
	await(t, "the refusal", func() bool { return strings.Contains(feeds.statusOf("tls").Error, "unknown authority") })
	answer, err := feeds.Test(t.Context(), "tls")
	if err != nil || answer.Taken || !strings.Contains(answer.Error, "unknown authority") || answer.Millis > int64(time.Minute/time.Millisecond) {
		t.Errorf("got %+v, %v", answer, err)
	}
}
