package detector

import (
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

// A group is who should behave alike: the identities of a namespace, the units of that name on all nodes, and so on. What others of the group reach
// is no surprise. How many identities know a resource is counted per group, and over all.

type groupUse struct{ group, resource uint32 }

type group struct {
	name       string
	identities uint32
}

// maxGroups bounds the table of groups; identities of groups beyond have nobody beside them.
const maxGroups = 100_000

// groupName is the namespace of a Kubernetes workload, and the name of a unit or container without its node.
func groupName(w *event.Workload) string {
	switch {
	case w.Namespace != "":
		return "namespace " + w.Namespace
	case w.Unit != "":
		return "unit " + w.Unit
	case w.Container != "":
		return "container " + w.Container
	case w.Executable != "":
		return "executable " + w.Executable
	}
	return ""
}

// join puts an identity into its group, once.
func (d *Detector) join(id *identity, w *event.Workload) {
	if id.group != 0 {
		return
	}
	name := groupName(w)
	if name == "" {
		return
	}
	g, known := d.groupIndex[name]
	if !known {
		if len(d.groups) >= maxGroups {
			return
		}
		d.groups = append(d.groups, group{name: name})
		g = uint32(len(d.groups)) // 0 is none
		d.groupIndex[name] = g
	}
	id.group = g
	d.groups[g-1].identities++
	d.count(countGroup, name, event.Resource{}, d.groups[g-1].identities)
	d.eachEdge(id, func(e *edge) { d.share(id, e.resource) }) // those that came from the store
}

// share notes that an identity knows a resource.
func (d *Detector) share(id *identity, resource uint32) {
	if id.group != 0 {
		use := groupUse{id.group, resource}
		d.groupUses[use]++
		d.count(countInGroup, d.groups[id.group-1].name, d.resources[resource], d.groupUses[use])
	}
}

// users counts the identities that know a resource.
type users struct{ all, outside uint32 }

// support is who else knows a resource.
type support struct {
	group, groupSize int // others of the same group
	all              int // of all other identities
	outside          int // of them, those of another namespace than the resource's
}

func (d *Detector) supportOf(id *identity, what uint32) support {
	s := support{all: int(d.users[what].all), outside: int(d.users[what].outside)}
	if id.group != 0 {
		s.group, s.groupSize = int(d.groupUses[groupUse{id.group, what}]), int(d.groups[id.group-1].identities)-1
	}
	return s
}

// but is the support without the identity's own.
func (s support) but(id *identity, r event.Resource) support {
	s.all--
	if id.group != 0 {
		s.group--
	}
	if ns := namespaceOf(r); ns != "" && ns != namespaceOfIdentity(id.id) {
		s.outside--
	}
	return s
}

// environment is prod, staging or the like, from the name of a namespace; empty where the name says nothing.
func environmentOf(namespace string) string {
	for part := range strings.FieldsFuncSeq(strings.ToLower(namespace), func(r rune) bool { return r == '-' || r == '_' || r == '.' }) {
		switch part {
		case "prod", "production", "prd", "live":
			return "production"
		case "staging", "stage", "stg", "preprod", "uat":
			return "staging"
		case "dev", "development", "sandbox":
			return "development"
		case "test", "tests", "testing", "qa":
			return "test"
		case "ci", "cicd", "build":
			return "build"
		}
	}
	return ""
}

// namespaceOf is the namespace of a resource, by its identity or its service's name.
func namespaceOf(r event.Resource) string {
	switch r.Kind() {
	case event.ResourceIdentity:
		return namespaceIn(r.Name())
	case event.ResourceService:
		_, rest, _ := strings.Cut(r.Name(), ".")
		namespace, _, _ := strings.Cut(rest, ".")
		return namespace
	}
	return ""
}

// namespaceIn is the namespace in a SPIFFE ID of the usual form.
func namespaceIn(uri string) string {
	_, path, _ := strings.Cut(uri, "/ns/")
	namespace, _, _ := strings.Cut(path, "/")
	return namespace
}

func namespaceOfIdentity(id event.Identity) string { return namespaceIn(id.String()) }

// accountIn is the service account in a SPIFFE ID of the usual form.
func accountIn(uri string) string {
	_, path, _ := strings.Cut(uri, "/sa/")
	account, _, _ := strings.Cut(path, "/")
	return account
}
