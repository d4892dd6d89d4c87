package web

import (
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/event"
)

//go:embed all:templates
var templates embed.FS

// parse makes a set of templates for each page: layout.html, the parts (files that begin with _) and the page's own file.
func (s *Site) parse() (map[string]*template.Template, error) {
	base, err := template.New("").Funcs(s.funcs()).ParseFS(templates, "templates/layout.html", "templates/_*.html")
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(templates, "templates/[a-z]*.html")
	if err != nil {
		return nil, err
	}
	out := map[string]*template.Template{}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" {
			continue
		}
		t, err := base.Clone()
		if err != nil {
			return nil, err
		}
		if out[name], err = t.ParseFS(templates, file); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// funcs are what templates can do. Text of foreign origin goes through plain; what html/template escapes is not all that may mislead an eye.
func (s *Site) funcs() template.FuncMap {
	return template.FuncMap{
		"asset":        s.assets.path,
		"plain":        plain,
		"time":         s.time,
		"ago":          func(t time.Time) string { return ago(s.now().Sub(t)) },
		"number":       number,
		"bytes":        size,
		"percent":      func(v float64) string { return strconv.FormatFloat(math.Floor(v*100)/100, 'f', -1, 64) + " %" },
		"identityPath": identityPath,
		"short":        short,
		"shortText":    shortText,
		"identityHref": func(text string) string { return "/identities/" + url.PathEscape(text) },
		"dict":         dict,
		"list":         func(items ...any) []any { return items },
		"query":        query,
		"title":        title,
		"upper":        strings.ToUpper,
		"lower":        strings.ToLower,
		"join":         strings.Join,
		"share":        share,
		"why":          report.Why,
		"lasting":      lasting,
		"plural":       plural,
		"quoted":       func(v any) string { return quote(plain(v)) },
		"hasPrefix":    strings.HasPrefix,
		"hundredth":    hundredth,
		"moment":       momentText,
		"inForce":      inForce,
		"subjectPage":  subjectPage,
	}
}

// plain is text as it can be shown: characters that are not seen, or turn the direction of what follows, stand as codes.
func plain(v any) string {
	text := fmt.Sprint(v)
	clean := func(r rune) bool { return unicode.IsPrint(r) || r == '\n' }
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !clean(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == unicode.ReplacementChar && !strings.HasPrefix(text[i:], string(unicode.ReplacementChar)):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case clean(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// time is a moment as a page shows it: in UTC, which a script turns into the reader's own zone.
func (s *Site) time(t time.Time) template.HTML {
	if t.IsZero() || t.UnixMicro() == 0 {
		return `<span class="muted">never</span>`
	}
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05 UTC"), t.Format("2006-01-02 15:04 UTC")))
}

// ago is how long something is past, roughly.
func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d/time.Hour))
	}
	return fmt.Sprintf("%d days ago", int(d/(24*time.Hour)))
}

// number writes a whole number with spaces between thousands.
func number(v any) string {
	text := fmt.Sprint(v)
	if f, ok := v.(float64); ok {
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	whole, fraction, has := strings.Cut(text, ".")
	var b strings.Builder
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 && whole[i-1] != '-' {
			b.WriteRune('\u202f') // narrow and not broken
		}
		b.WriteRune(c)
	}
	if has {
		b.WriteString("." + fraction)
	}
	return b.String()
}

func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// identityPath is the page of an identity.
func identityPath(id event.Identity) string { return "/identities/" + url.PathEscape(id.String()) }

// short is an identity without the words that all have in common, for where there is little room; the whole one stands in a title.
func short(id event.Identity) string {
	_, rest, ok := strings.Cut(id.String(), "://")
	if !ok {
		return id.String()
	}
	parts := strings.Split(rest, "/")
	switch {
	case len(parts) == 5 && parts[1] == "ns" && parts[3] == "sa":
		return parts[2] + "/" + parts[4]
	case len(parts) >= 5 && parts[1] == "node" && parts[3] == "unit":
		return parts[2] + " " + strings.Join(parts[4:], "/")
	}
	return rest
}

// dict passes several values to a part.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict has %d arguments", len(pairs))
	}
	out := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		out[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return out, nil
}

// query is a query string of names and values; empty values are left out.
func query(pairs ...any) (string, error) {
	values := url.Values{}
	if len(pairs)%2 != 0 {
		return "", fmt.Errorf("query has %d arguments", len(pairs))
	}
	for i := 0; i < len(pairs); i += 2 {
		if v := fmt.Sprint(pairs[i+1]); v != "" {
			values.Set(fmt.Sprint(pairs[i]), v)
		}
	}
	if len(values) == 0 {
		return "?", nil
	}
	return "?" + values.Encode(), nil
}

// title makes a heading of a word of the API.
func title(v any) string {
	text := strings.ReplaceAll(fmt.Sprint(v), "-", " ")
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// share is what percentage one number is of another, as a whole number, for bars.
func share(n, of uint64) uint64 {
	if of == 0 {
		return 0
	}
	return min(100, (n*100+of/2)/of)
}

// lasting is a length of time in a unit that gives it few digits.
func lasting(value float64, unit string) string {
	seconds := value
	if unit == "days" {
		seconds *= 86_400
	}
	for _, u := range []struct {
		name    string
		seconds float64
	}{{"days", 86_400}, {"h", 3600}, {"min", 60}, {"s", 1}} {
		if seconds >= 2*u.seconds {
			return strconv.FormatFloat(math.Round(seconds/u.seconds*10)/10, 'f', -1, 64) + "\u202f" + u.name
		}
	}
	return strconv.FormatFloat(math.Round(seconds*1000), 'f', -1, 64) + "\u202fms"
}

func plural(n any, noun string) string {
	if fmt.Sprint(n) == "1" {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}
