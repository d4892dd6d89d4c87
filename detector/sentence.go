package detector

import (
	"fmt"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// The sentences of findings. They are read by someone who was woken up: who, what, when, and what was normal, with numbers.

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func clockMicros(at int64) string { return clock(time.UnixMicro(at)) }

// shortName is what people call a workload.
func shortName(w *event.Workload) string {
	switch {
	case w.Namespace != "" && w.ServiceAccount != "":
		return w.Namespace + "/" + w.ServiceAccount
	case w.Unit != "":
		return w.Unit
	}
	_, path, _ := strings.Cut(w.Identity.String(), "://")
	_, path, _ = strings.Cut(path, "/")
	return path
}

// nameOf is the identity and where it ran.
func nameOf(o *event.Observation) string {
	w := &o.Workload
	var where []string
	if w.Pod != "" {
		where = append(where, "pod "+w.Pod)
	}
	if o.Node != "" {
		where = append(where, "node "+o.Node)
	}
	if len(where) == 0 {
		return w.Identity.String()
	}
	return w.Identity.String() + " (" + strings.Join(where, ", ") + ")"
}

// spoken is what people call a resource.
func spoken(r event.Resource) string {
	name := r.Name()
	switch r.Kind() {
	case event.ResourceNet:
		name = r.Prefix().String()
		if r.Prefix().IsSingleIP() {
			name = r.Prefix().Addr().String()
		}
	case event.ResourceService:
		name = "the service " + name
	case event.ResourceNode:
		name = "the node " + name
	case event.ResourceIdentity:
		if account := accountIn(name); account != "" {
			name = namespaceIn(name) + "/" + account
		}
	}
	port := fmt.Sprintf("port %d", r.Port())
	if r.Protocol() != event.TCP {
		port += fmt.Sprintf("/%s", r.Protocol())
	}
	return name + " (" + port + ")"
}

// caller is spoken for who connected: the port is the other side's own.
func caller(r event.Resource) string {
	name, _, _ := strings.Cut(spoken(r), " (port")
	return fmt.Sprintf("%s on port %d", name, r.Port())
}

func whoReached(r event.Resource, o *event.Observation) string {
	var b strings.Builder
	verb := "connected"
	if allFailed(o) {
		verb = "tried to connect"
	}
	fmt.Fprintf(&b, "%s %s to %s", nameOf(o), verb, r)
	if a := addressText(o); a != "" && r.Kind() != event.ResourceNet {
		fmt.Fprintf(&b, " (%s)", a)
	}
	fmt.Fprintf(&b, " for the first time at %s", clock(o.First()))
	if o.Workload.Executable != "" {
		fmt.Fprintf(&b, ", by %s", o.Workload.Executable)
	}
	if o.Workload.Interactive {
		b.WriteString(" from a terminal")
	}
	b.WriteByte('.')
	return b.String()
}

// whoConnected is whoReached for what is known.
func whoConnected(r event.Resource, o *event.Observation) string {
	by := ""
	if o.Workload.Executable != "" {
		by = ", by " + o.Workload.Executable
	}
	verb := "connected"
	if allFailed(o) {
		verb = "tried to connect"
	}
	return fmt.Sprintf("%s %s to %s at %s%s.", nameOf(o), verb, r, clock(o.First()), by)
}

func allFailed(o *event.Observation) bool { return o.Counts.Failed >= o.Counts.Connections }

// addressText is the peer's address, and the one that was dialled where it is another; empty where none is known.
func addressText(o *event.Observation) string {
	if !o.Peer.Address.IsValid() {
		if o.Peer.Dialled.IsValid() {
			return o.Peer.Dialled.Addr().String()
		}
		return ""
	}
	a := o.Peer.Address.Unmap().String()
	if d := o.Peer.Dialled; d.IsValid() && d.Addr().Unmap() != o.Peer.Address.Unmap() {
		a += ", dialled as " + d.String()
	}
	return a
}

func outcome(o *event.Observation) string {
	c := o.Counts
	why := ""
	if o.Error != "" {
		why = ", the last one with: " + o.Error
	}
	var s string
	switch {
	case c.Failed == 0: // a connect that is still under way counts already
		s = plural(c.Connections, "connection") + " so far, none failed"
	case c.Connections == 1:
		s = "The attempt failed" + strings.Replace(why, ", the last one with", "", 1)
	case allFailed(o):
		s = fmt.Sprintf("All %d attempts failed%s", c.Connections, why)
	default:
		s = fmt.Sprintf("%d of %d attempts failed%s", c.Failed, c.Connections, why)
	}
	if c.Denied > 0 {
		s += fmt.Sprintf("; %d of them were denied", c.Denied)
	}
	if c.BytesSent > 0 || c.BytesReceived > 0 {
		s += fmt.Sprintf("; %s were sent and %s received", bytesText(float64(c.BytesSent)), bytesText(float64(c.BytesReceived)))
	}
	return s + "."
}

func whatWasNormal(n normal, w watch, learn time.Duration) string {
	watched := fmt.Sprintf("It was watched for %s since %s (learning takes %s)", spell(w.total), clockMicros(w.first), spell(learn))
	switch n.resources {
	case 0:
		return watched + " and had reached nothing in that time."
	case 1:
		return fmt.Sprintf("%s; its 1 normal resource was first reached at %s.", watched, clockMicros(n.newest))
	}
	return fmt.Sprintf("%s; of its %d normal resources the newest was first reached at %s.", watched, n.resources, clockMicros(n.newest))
}

// sentences lists the resources that are used most.
func (n normal) sentences(resources []event.Resource) []string {
	out := make([]string, 0, len(n.top)+1)
	for _, e := range n.top {
		out = append(out, fmt.Sprintf("%s: %s, last at %s", resources[e.resource], plural(e.connections, "connection"), clockMicros(e.last)))
	}
	if rest := n.resources - len(n.top); rest > 0 {
		out = append(out, "and "+plural(uint64(rest), "other resource"))
	}
	return out
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// unwatched says how much of an identity's life was not watched.
func unwatched(w watch, at int64) string {
	lived := time.Duration(at-w.first) * time.Microsecond
	if gap := lived - w.total; gap >= time.Second {
		return fmt.Sprintf("The identity was not watched for %s of the %s since it was first seen; what it reached then is not known.", spell(gap), spell(lived))
	}
	return ""
}

// isAre is plural with its verb.
func isAre(n uint64, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return plural(n, what) + " are"
}
