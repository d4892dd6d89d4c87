package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

// cefKeys are the keys of CEF's dictionary that feeds use: the kind of value, and its longest length.
var cefKeys = map[string]struct {
	kind string
	most int
}{
	"externalId": {"text", 80}, "rt": {"time", 0}, "cat": {"text", 1023}, "dvchost": {"text", 100}, "deviceFacility": {"text", 1023}, "msg": {"text", 1023}, "start": {"time", 0}, "end": {"time", 0},
	"cnt": {"int", 0}, "outcome": {"text", 63}, "reason": {"text", 1023}, "suid": {"text", 1023}, "suser": {"text", 1023}, "shost": {"text", 1023}, "sproc": {"text", 1023}, "dst": {"ipv4", 0},
	"c6a3": {"ipv6", 0}, "c6a3Label": {"text", 1023}, "dhost": {"text", 1023}, "duid": {"text", 1023}, "dpt": {"port", 0}, "proto": {"text", 31}, "request": {"text", 1023}, "act": {"text", 63},
	"cs1": {"text", 4000}, "cs2": {"text", 4000}, "cs3": {"text", 4000}, "cs4": {"text", 4000}, "cs5": {"text", 4000}, "cs6": {"text", 4000}, "cfp1": {"float", 0}, "cfp2": {"float", 0},
	"cs1Label": {"text", 1023}, "cs2Label": {"text", 1023}, "cs3Label": {"text", 1023}, "cs4Label": {"text", 1023}, "cs5Label": {"text", 1023}, "cs6Label": {"text", 1023}, "cfp1Label": {"text", 1023}, "cfp2Label": {"text", 1023},
}

var cefKey = regexp.MustCompile(`(?:^| )([A-Za-z0-9_]+)=`)

// parseCEF reads a line strictly.
func parseCEF(line string) (header []string, ext map[string]string, err error) {
	if !utf8.ValidString(line) || strings.ContainsAny(line, "\n\r") {
		return nil, nil, errors.New("it is no line of UTF-8")
	}
	rest, ok := strings.CutPrefix(line, "CEF:0|")
	if !ok {
		return nil, nil, errors.New("it does not begin with CEF:0|")
	}
	var field strings.Builder
	for len(header) < 6 {
		if rest == "" {
			return nil, nil, errors.New("header fields are missing")
		}
		switch c := rest[0]; {
		case c == '\\' && len(rest) > 1 && (rest[1] == '|' || rest[1] == '\\'):
			field.WriteByte(rest[1])
			rest = rest[1:]
		case c == '\\':
			return nil, nil, errors.New("a backslash in the header escapes nothing")
		case c == '|':
			header = append(header, field.String())
			field.Reset()
		default:
			field.WriteByte(c)
		}
		rest = rest[1:]
	}
	for i, h := range header {
		if h == "" {
			return nil, nil, fmt.Errorf("header field %d is empty", i+1)
		}
	}
	if n, err := strconv.Atoi(header[5]); err != nil || n < 0 || n > 10 {
		return nil, nil, fmt.Errorf("severity %q", header[5])
	}
	ext = map[string]string{}
	places := cefKey.FindAllStringSubmatchIndex(rest, -1)
	if len(places) == 0 || places[0][0] != 0 {
		return nil, nil, fmt.Errorf("the extension is %q", rest)
	}
	for i, p := range places {
		end := len(rest)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		key, raw := rest[p[2]:p[3]], rest[p[1]:end]
		var value strings.Builder
		for j := 0; j < len(raw); j++ {
			switch raw[j] {
			case '=':
				return nil, nil, fmt.Errorf("an = is not escaped in %s", key)
			case '\\':
				if j+1 == len(raw) || !strings.ContainsRune(`\=nr`, rune(raw[j+1])) {
					return nil, nil, fmt.Errorf("a backslash in %s escapes nothing", key)
				}
				j++
			}
			value.WriteByte(raw[j])
		}
		if _, twice := ext[key]; twice {
			return nil, nil, fmt.Errorf("%s is there twice", key)
		}
		ext[key] = value.String()
	}
	return header, ext, checkCEF(ext)
}

func checkCEF(ext map[string]string) error {
	for key, value := range ext {
		k, known := cefKeys[key]
		if !known {
			return fmt.Errorf("there is no key %s", key)
		}
		ok := value != ""
		switch k.kind {
		case "text":
			ok = ok && len(value) <= k.most
		case "time":
			n, err := strconv.ParseInt(value, 10, 64)
			ok = err == nil && time.UnixMilli(n).Year() > 2000
		case "int":
			_, err := strconv.ParseInt(value, 10, 32)
			ok = err == nil
		case "port":
			_, err := strconv.ParseUint(value, 10, 16)
			ok = err == nil
		case "float":
			_, err := strconv.ParseFloat(value, 64)
			ok = err == nil
		case "ipv4":
			ok = strings.Count(value, ".") == 3
		case "ipv6":
			ok = strings.Contains(value, ":")
		}
		if !ok {
			return fmt.Errorf("%s is %q, no %s of at most %d", key, value, k.kind, k.most)
		}
		if _, labelled := cefKeys[key+"Label"]; labelled && ext[key+"Label"] == "" {
			return fmt.Errorf("%s has no label", key)
		}
	}
	return nil
}

func TestCEF(t *testing.T) {
	r := findingRecord(t)
	r.Finding.Explanation = []string{`a|b c=d \e`, "two\nlines"}
	header, ext, err := parseCEF(string(encodeFor(t, "cef", r)))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(header, "|"); got != "Ambit|Ambit|1.2.3|new-reach|new reach|8" {
		t.Errorf("the header is %s", got)
	}
	for key, want := range map[string]string{
		"externalId": r.UID, "cat": "create", "suid": "spiffe://shop.example/ns/shop/sa/checkout", "dhost": "api.example.com", "dpt": "443", "cs2": "NHI5:2025,NHI8:2025", "cs3": "T1552.005,T1046",
		"cs5": "team-payments", "outcome": "new", "msg": `checkout reaches api.example.com for the first time a|b c=d \e two lines`, "rt": strconv.FormatInt(noon.UnixMilli(), 10),
	} {
		if ext[key] != want {
			t.Errorf("%s is %q, want %q", key, ext[key], want)
		}
	}
	if _, ext, err = parseCEF(string(encodeFor(t, "cef", decisionRecord(t)))); err != nil || ext["act"] != "deny" {
		t.Errorf("got %v, %v", ext, err)
	}
}

func TestCEFOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawFinding(t)
		body, err := encodeCEF(plainMaking, r)
		if err != nil {
			t.Fatal(err)
		}
		if _, ext, err := parseCEF(string(body)); err != nil || ext["externalId"] != r.UID {
			t.Fatalf("%v in %s", err, body)
		}
	})
}

// syslogLine is a message of RFC 5424.
type syslogLine struct {
	facility, severity        int
	time                      time.Time
	host, app, proc, id, text string
	data                      map[string]map[string]string
}

var syslogHead = regexp.MustCompile(`^<(0|[1-9][0-9]{0,2})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) `)
var sdName = regexp.MustCompile(`^[!-<>-\\^-~]{1,32}`)

// parseSyslog reads a message strictly, by the grammar of RFC 5424.
func parseSyslog(m string) (s syslogLine, err error) {
	head := syslogHead.FindStringSubmatch(m)
	if head == nil {
		return s, errors.New("the header is not one")
	}
	pri, _ := strconv.Atoi(head[1])
	if pri > 191 {
		return s, fmt.Errorf("the priority is %d", pri)
	}
	if s.time, err = time.Parse(time.RFC3339Nano, head[2]); err != nil {
		return s, err
	}
	s.facility, s.severity, s.host, s.app, s.proc, s.id = pri/8, pri%8, head[3], head[4], head[5], head[6]
	rest := m[len(head[0]):]
	s.data = map[string]map[string]string{}
	if after, none := strings.CutPrefix(rest, "-"); none {
		rest = after
	} else {
		for strings.HasPrefix(rest, "[") {
			if rest, err = s.element(rest[1:]); err != nil {
				return s, err
			}
		}
		if len(s.data) == 0 {
			return s, errors.New("there is no structured data")
		}
	}
	if rest == "" {
		return s, nil
	}
	text, ok := strings.CutPrefix(rest, " ")
	if !ok {
		return s, fmt.Errorf("behind the structured data stands %q", rest)
	}
	s.text, ok = strings.CutPrefix(text, bom)
	if !ok && !utf8.ValidString(text) || !utf8.ValidString(s.text) {
		return s, errors.New("the text is no UTF-8")
	}
	return s, nil
}

func (s *syslogLine) element(rest string) (string, error) {
	id := sdName.FindString(rest)
	if id == "" || s.data[id] != nil || !strings.Contains(id, "@") {
		return "", fmt.Errorf("the id %q is none, or there twice", id)
	}
	s.data[id] = map[string]string{}
	rest = rest[len(id):]
	for strings.HasPrefix(rest, " ") {
		name := sdName.FindString(rest[1:])
		after, ok := strings.CutPrefix(rest[1+len(name):], `="`)
		if name == "" || !ok {
			return "", fmt.Errorf("no parameter begins at %q", rest)
		}
		var value strings.Builder
		for {
			if after == "" {
				return "", errors.New("a value does not end")
			}
			c := after[0]
			after = after[1:]
			if c == '"' {
				break
			}
			if c == ']' {
				return "", errors.New("a ] is not escaped")
			}
			if c == '\\' {
				if after == "" || !strings.ContainsRune(`"\]`, rune(after[0])) {
					return "", errors.New("a backslash escapes nothing")
				}
				c, after = after[0], after[1:]
			}
			value.WriteByte(c)
		}
		if !utf8.ValidString(value.String()) {
			return "", errors.New("a value is no UTF-8")
		}
		s.data[id][name] = value.String()
		rest = after
	}
	after, ok := strings.CutPrefix(rest, "]")
	if !ok {
		return "", fmt.Errorf("an element does not end at %q", rest)
	}
	return after, nil
}

func TestSyslogMessage(t *testing.T) {
	r := findingRecord(t)
	r.Finding.Explanation = []string{`He said "no] \ way"`}
	s, err := parseSyslog(string(encodeFor(t, "rfc5424", r)))
	if err != nil {
		t.Fatal(err)
	}
	if s.facility != 13 || s.severity != 3 || s.host != "n1" || s.app != "ambit" || s.id != "new-reach" || !s.time.Equal(noon) || s.text != r.Finding.Title {
		t.Errorf("got %+v", s)
	}
	for id, want := range map[string]map[string]string{
		"ambit@32473":    {"uid": r.UID, "activity": "create", "severity": "high", "owner": "team-payments"},
		"finding@32473":  {"explanation": `He said "no] \ way"`, "owasp": "NHI5:2025,NHI8:2025", "attack": "T1552.005,T1046", "status": "new", "count": "12"},
		"identity@32473": {"id": "spiffe://shop.example/ns/shop/sa/checkout", "namespace": "shop"},
		"resource@32473": {"name": "dns:api.example.com:443/tcp"},
	} {
		for name, value := range want {
			if got := s.data[id][name]; got != value {
				t.Errorf("%s %s is %q, want %q", id, name, got, value)
			}
		}
	}
	if s, err = parseSyslog(string(encodeFor(t, "rfc5424", decisionRecord(t)))); err != nil || s.data["decision@32473"]["mode"] != "enforce" {
		t.Errorf("got %+v, %v", s, err)
	}
	// Other formats stand behind the header.
	s, err = parseSyslog(string(syslogMessage(plainMaking, r, "", string(encodeFor(t, "cef", r)))))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := parseCEF(s.text); err != nil {
		t.Error(err)
	}
}

func TestSyslogMessageOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawFinding(t)
		body, err := encodeSyslog(plainMaking, r)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseSyslog(string(body))
		if err != nil || s.data["ambit@32473"]["uid"] != r.UID || bytes.ContainsAny(body, "\n\r\x00") {
			t.Fatalf("%v in %s", err, body)
		}
	})
}

func TestJSON(t *testing.T) {
	r := findingRecord(t)
	var got struct {
		Kind, UID, Activity, Owner, Link string
		Finding                          event.Finding
	}
	d := json.NewDecoder(bytes.NewReader(encodeFor(t, "json", r)))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Kind != "finding" || got.UID != r.UID || got.Activity != "create" || got.Finding.ID != r.Finding.ID || got.Finding.Resource != r.Finding.Resource {
		t.Errorf("got %+v", got)
	}
	if body := string(encodeFor(t, "json", decisionRecord(t))); strings.Contains(body, "signature") || !strings.Contains(body, `"kind":"decision"`) {
		t.Errorf("got %s", body)
	}
	if body := string(encodeFor(t, "json", observationRecord(t))); !strings.Contains(body, `"kind":"observation"`) {
		t.Errorf("got %s", body)
	}
}

func TestFalco(t *testing.T) {
	r := findingRecord(t)
	var got struct {
		UUID, Output, Priority, Rule, Source, Hostname string
		Time                                           time.Time
		Tags                                           []string
		OutputFields                                   map[string]any `json:"output_fields"`
	}
	d := json.NewDecoder(bytes.NewReader(encodeFor(t, "falcosidekick", r)))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Priority != "Error" || got.Rule != "new-reach" || got.Source != "ambit" || !got.Time.Equal(noon) || got.OutputFields["k8s.pod.name"] != "checkout-7c9f" || got.OutputFields["ambit.uid"] != r.UID ||
		strings.Join(got.Tags, " ") != "ambit nhi NHI5:2025 NHI8:2025 T1552.005 mitre_credential_access T1046 mitre_discovery" {
		t.Errorf("got %+v", got)
	}
	for _, s := range severityOrder { // the words that falcosidekick knows
		if !strings.Contains(" Emergency Alert Critical Error Warning Notice Informational Debug ", " "+words(s).Falco+" ") {
			t.Errorf("%s is told as %s", s, words(s).Falco)
		}
	}
}

func TestSlack(t *testing.T) {
	r := findingRecord(t)
	r.Finding.Title = "<!channel> & <https://evil.example|click>"
	var got struct {
		Text        string
		Attachments []struct {
			Color, Fallback, Text, Footer, Title string
			TitleLink                            string `json:"title_link"`
			TS                                   int64
			Fields                               []struct {
				Title, Value string
				Short        bool
			}
		}
	}
	d := json.NewDecoder(bytes.NewReader(encodeFor(t, "slack", r)))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Text != "[HIGH] &lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;" || len(got.Attachments) != 1 || got.Attachments[0].Footer != "Ambit "+r.UID || got.Attachments[0].Color != "#e8710a" {
		t.Errorf("got %+v", got)
	}
}
