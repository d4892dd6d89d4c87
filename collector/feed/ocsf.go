package feed

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// ocsfVersion is the version of the schema that all documents follow.
const ocsfVersion = "1.8.0"

// Classes of OCSF.
const (
	classDetection = 2004
	classIAM       = 2008
	classEntity    = 3004
	classNetwork   = 4001
)

var ocsfClasses = map[int]struct {
	Category     int
	Name, Within string
}{
	classDetection: {2, "Detection Finding", "Findings"},
	classIAM:       {2, "IAM Analysis Finding", "Findings"},
	classEntity:    {3, "Entity Management", "Identity & Access Management"},
	classNetwork:   {4, "Network Activity", "Network Activity"},
}

func encodeOCSF(m *making, r *Record) ([]byte, error) {
	var doc object
	switch {
	case r.Finding != nil:
		doc = ocsfFinding(m, r)
	case r.Observation != nil:
		doc = ocsfNetwork(m, r)
	default:
		doc = ocsfEntity(m, r)
	}
	return json.Marshal(doc)
}

func millis(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// ocsfBase is what every class has.
func ocsfBase(m *making, r *Record, class, activity int, name string, profiles ...string) object {
	c := ocsfClasses[class]
	s := words(r.severity())
	meta := object{
		"version": ocsfVersion,
		"product": object{"name": "Ambit", "vendor_name": "Ambit", "uid": "ambit", "version": m.Version},
		"uid":     r.UID + "/" + strconv.FormatInt(r.Time.UnixNano(), 10),
	}
	meta.set("log_provider", "ambit")
	meta.set("logged_time", millis(r.Time))
	if len(profiles) > 0 {
		meta["profiles"] = profiles
	}
	labels := tagsOf(m, r)
	if r.Test {
		labels = append(labels, "test")
	}
	meta.set("labels", labels)
	doc := object{
		"category_uid": c.Category, "category_name": c.Within, "class_uid": class, "class_name": c.Name,
		"activity_id": activity, "activity_name": name, "type_uid": class*100 + activity, "type_name": c.Name + ": " + name,
		"severity_id": s.OCSF, "severity": s.OCSFName, "time": r.at().UnixMilli(), "metadata": meta,
	}
	doc.set("message", r.title())
	return doc
}

// tagsOf are the feed's own labels and the OWASP risks.
func tagsOf(m *making, r *Record) []string {
	var out []string
	for _, k := range sortedKeys(m.Labels) {
		out = append(out, k+":"+m.Labels[k])
	}
	if r.Finding != nil {
		out = append(out, clipAll(r.Finding.OWASP)...)
	}
	return out
}

// ocsfUser is an identity as a service's account.
func ocsfUser(uri string, w *event.Workload, owner string) object {
	u := object{"uid": uri, "type_id": 4, "type": "Service"}
	u.set("name", clip(uri))
	if w != nil {
		u.set("display_name", w.ServiceAccount)
		u.set("domain", w.Namespace)
	}
	if owner != "" {
		u["org"] = object{"name": clip(owner)}
	}
	return u
}

func ocsfDevice(node string) object {
	return object{"type_id": 99, "type": "Node", "hostname": clip(node), "uid": clip(node)}
}

// ocsfEndpoint is what a resource names.
func ocsfEndpoint(r event.Resource) object {
	e := object{}
	switch r.Kind() {
	case event.ResourceNet:
		if p := r.Prefix(); p.IsSingleIP() {
			e["ip"] = p.Addr().String()
		} else {
			e["name"] = p.String()
		}
	case event.ResourceDNS, event.ResourceNode:
		e["hostname"] = clip(r.Name())
	case event.ResourceService:
		e["svc_name"] = clip(r.Name())
	default:
		e["uid"] = clip(r.Name())
	}
	if r.Port() != 0 {
		e["port"] = r.Port()
	}
	return e
}

var observableTypes = map[string]int{"Hostname": 1, "IP Address": 2, "Resource UID": 10, "User": 21, "User Name": 4}

func observable(path, kind, value string) object {
	return object{"name": path, "type_id": observableTypes[kind], "type": kind, "value": clip(value)}
}

func protocolNumber(p event.Protocol) int {
	if p == event.UDP {
		return 17
	}
	return 6
}

func ipVersion(a netip.Addr) int {
	switch {
	case a.Is4() || a.Is4In6():
		return 4
	case a.Is6():
		return 6
	}
	return 0
}
