package workload

import (
	"regexp"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

// systemd names workloads by the unit that their cgroup belongs to. Scopes of logins and transient units belong to people: there, user and
// executable say more than a unit that has a new name each time.
type systemd struct {
	constant
	domain event.TrustDomain
	node   string
	people process
}

func (s *systemd) Workload(c Cgroup, p Process) (event.Workload, bool) {
	unit, kind := unitOf(c.Path)
	switch kind {
	case unitNamed:
		return event.Workload{
			Identity:   event.UnitIdentity(s.domain, s.node, unit),
			Evidence:   event.EvidenceSystemd,
			Unit:       unit,
			Executable: p.Executable, Interactive: p.Interactive, UID: p.UID,
		}, true
	case unitOfPeople:
		return s.people.Workload(c, p)
	}
	return event.Workload{}, false
}

type unitKind uint8

const (
	unitNone     unitKind = iota // the cgroup is not systemd's, or is a container's scope
	unitNamed                    // a unit with a lasting name
	unitOfPeople                 // a login, something started by hand, or a service manager itself
)

// unitOf reads the unit from a cgroup's path. Units stand below slices, or, where their slice is "-.slice", at the root; below a unit the cgroup is the unit's own affair, also if it looks like
// a unit, as in a container that runs systemd. The exception are user managers: their units are named "user@<uid>.service/<unit>".
func unitOf(path string) (string, unitKind) {
	manager := ""
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		name := strings.TrimPrefix(segment, "_") // systemd's escape for names that the kernel might use
		switch {
		case strings.HasSuffix(name, ".slice"):
		case name == "init.scope":
			return "", unitOfPeople
		case strings.HasSuffix(name, ".scope"):
			if containerScope.MatchString(name) {
				return "", unitNone
			}
			if manager != "" || strings.HasPrefix(name, "session-") || transient.MatchString(name) || random.MatchString(name) {
				return "", unitOfPeople
			}
			return "", unitNone
		case !unitSuffix.MatchString(name):
			if manager != "" {
				return "", unitOfPeople
			}
			return "", unitNone
		case manager == "" && strings.HasPrefix(name, "user@"):
			manager = name + "/" // older user managers have no slices
		case transient.MatchString(name):
			return "", unitOfPeople
		default:
			return manager + lasting(name), unitNamed
		}
	}
	if manager != "" {
		return "", unitOfPeople
	}
	return "", unitNone
}

var (
	unitSuffix     = regexp.MustCompile(`\.(service|socket|mount|swap)$`)
	containerScope = regexp.MustCompile(`^(docker|crio|cri-containerd|libpod|nerdctl|machine)-`)
	// systemd-run gives names such as run-u12, run-r<32 hex digits>, run-p1234-i5678 and run-1234.
	transient = regexp.MustCompile(`^run-(u[0-9]+|r[0-9a-f]{32}|p[0-9]+-i[0-9]+|[0-9]+)\.(service|scope)$`)
	// Snaps, among others, run what people start in scopes of this kind.
	random = regexp.MustCompile(`[-.][0-9a-f]{8}(?:-|\\x2d)(?:[0-9a-f]{4}(?:-|\\x2d)){3}[0-9a-f]{12}\.scope$`)
	// One instance per connection is named by number, since systemd 258 the socket's cookie, and both ends, or process and user: a new name each
	// time for the same service.
	connection = regexp.MustCompile(`@[0-9]+-(?:(?:[0-9]+-)?[0-9]+(?:_[0-9]+)?-[0-9]+|[^/]*:[0-9]+-[^/]*:[0-9]+)(?:-[0-9]+)?\.service$`)
	// Desktops start each application as an instance of its own.
	application = regexp.MustCompile(`^(app-.+)@[0-9a-f]{32}\.service$`)
	// So do the buses of messages, and name the connection of who asked for it too.
	activated = regexp.MustCompile(`^dbus-:[0-9]+\.[0-9]+-(.+)@[0-9]+\.service$`)
)

// lasting leaves out of a unit's name what is new each time.
func lasting(unit string) string {
	unit = connection.ReplaceAllString(unit, "@.service")
	unit = application.ReplaceAllString(unit, "$1@.service")
	return activated.ReplaceAllString(unit, "dbus-$1@.service")
}
