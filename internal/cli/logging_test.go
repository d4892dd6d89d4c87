package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func logTo(t *testing.T, format string) (*slog.Logger, *bytes.Buffer) {
	t.Helper()
	c := defaultConfig()
	c.Log.Level, c.Log.Format = "debug", format
	if err := c.validateLog(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	return c.logger(&b), &b
}

func TestLogFormats(t *testing.T) {
	log, out := logTo(t, "text")
	log.Warn("it waits", "error", errors.New("two words"))
	if got := out.String(); !strings.Contains(got, `level=WARN msg="it waits" error="two words"`) {
		t.Errorf("%s", got)
	}
	log, out = logTo(t, "json")
	log.With("part", "stream").WithGroup("g").Warn("it waits", "n", 5)
	var got struct {
		Level, Msg, Part string
		G                struct{ N int }
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Level != "WARN" || got.Msg != "it waits" || got.Part != "stream" || got.G.N != 5 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestLogIsCalm: the same words do not fill the disk, and what was left out is counted.
func TestLogIsCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, out := logTo(t, "text")
		count := func(words string) int { return strings.Count(out.String(), words) }
		for i := range 1000 {
			log.Warn("again", "i", i)
			log.With("i", i).Error("again")
		}
		log.Warn("once")
		if count("WARN msg=again") != sameWords || count("ERROR msg=again") != sameWords || count("msg=once") != 1 || count("withheld") != 0 {
			t.Errorf("%s", out)
		}
		time.Sleep(sameTime)
		log.Warn("again")
		if !strings.HasSuffix(out.String(), "msg=again withheld=990\n") {
			t.Errorf("%s", out)
		}
		out.Reset()
		for range 50 {
			log.Debug("detail") // who asks for it, wants it
		}
		for i := range 2 * knownWords {
			log.Info(fmt.Sprint("words ", i))
		}
		if n := count("level=INFO"); n < knownWords-10 || n > knownWords+sameWords || count("detail") != 50 {
			t.Errorf("%d records of many words, %d details", n, count("detail"))
		}
	})
}

func TestLogHidesPasswords(t *testing.T) {
	log, out := logTo(t, "json")
	u, err := url.Parse("nats://user:geheim@n1:4222")
	if err != nil {
		t.Fatal(err)
	}
	log.Warn("a", "url", "https://geheim@n1/x", "error", fmt.Errorf(`connect to "tls://user:geheim@n1": %w`, errors.New("refused")), "parsed", u,
		slog.Group("in", "url", "nats://user:geheim@n1:4222,nats://geheim@n2"))
	log.With("url", "nats://geheim@n3").Warn("b", "address", "name@example.com at https://example.com/a@b")
	got := out.String()
	if strings.Contains(got, "geheim") || !strings.Contains(got, "tls://xxxxx@n1") || !strings.Contains(got, "name@example.com at https://example.com/a@b") {
		t.Errorf("%s", got)
	}
}
