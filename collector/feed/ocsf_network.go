package feed

import (
	"math"

	"github.com/ambit-nhi/ambit/event"
)

// ocsfNetwork is an observation as Network Activity. The counts are those of one interval, hence Traffic, unless all of it failed.
func ocsfNetwork(m *making, r *Record) object {
	o := r.Observation
	activity, name, status := 6, "Traffic", 1
	if o.Counts.Failed > 0 && o.Counts.Failed+o.Counts.Denied >= o.Counts.Connections {
		activity, name, status = 4, "Fail", 2
	}
	if o.Counts.Denied > 0 && o.Counts.Denied >= o.Counts.Connections {
		activity, name, status = 5, "Refuse", 2
	}
	doc := ocsfBase(m, r, classNetwork, activity, name, "host", "security_control")
	doc["status_id"], doc["status"] = status, map[int]string{1: "Success", 2: "Failure"}[status]
	doc.set("status_code", o.Error)
	doc["action_id"], doc["action"], doc["disposition_id"], doc["disposition"] = 3, "Observed", 17, "Logged"
	if o.Counts.Denied > 0 {
		doc["action_id"], doc["action"], doc["disposition_id"], doc["disposition"] = 2, "Denied", 2, "Blocked"
	}
	doc.set("start_time", millis(o.First()))
	doc.set("end_time", millis(o.Time))
	if n := o.Counts.Connections; n > 0 {
		doc["count"] = whole(n)
	}
	doc["actor"] = object{"user": ocsfUser(o.Workload.Identity.String(), &o.Workload, r.Owner)}
	if o.Node != "" {
		doc["device"] = ocsfDevice(o.Node)
	}
	own := object{"name": clip(o.Workload.Identity.String()), "uid": clip(o.Workload.Identity.String())}
	peer := object{}
	if o.Peer.Address.IsValid() {
		peer["ip"] = o.Peer.Address.Unmap().WithZone("").String()
	}
	peer.set("hostname", o.Peer.Name)
	if !o.Peer.Identity.IsZero() {
		peer.set("uid", o.Peer.Identity.String())
	}
	connection := object{"protocol_name": string(o.Protocol), "protocol_num": protocolNumber(o.Protocol)}
	if v := ipVersion(o.Peer.Address); v != 0 {
		connection["protocol_ver_id"] = v
	}
	if o.Direction == event.Inbound {
		connection["direction_id"], connection["direction"] = 1, "Inbound"
		own["port"] = o.Peer.Port
		doc["src_endpoint"], doc["dst_endpoint"] = peer, own
		doc["observation_point_id"], doc["observation_point"] = 2, "Destination"
	} else {
		connection["direction_id"], connection["direction"] = 2, "Outbound"
		peer["port"] = o.Peer.Port
		doc["src_endpoint"], doc["dst_endpoint"] = own, peer
		doc["observation_point_id"], doc["observation_point"] = 1, "Source"
	}
	doc["is_src_dst_assignment_known"] = true
	doc["connection_info"] = connection
	doc["traffic"] = object{
		"bytes_out": whole(o.Counts.BytesSent), "bytes_in": whole(o.Counts.BytesReceived), "bytes": whole(o.Counts.BytesSent + o.Counts.BytesReceived),
	}
	if o.TLS != nil && o.TLS.Version != "" {
		doc["tls"] = ocsfTLS(o.TLS)
	}
	unmapped := object{"resource": clip(event.ResourceOf(o).String())}
	unmapped.set("evidence", string(o.Workload.Evidence))
	unmapped.set("namespace", o.Workload.Namespace)
	unmapped.set("executable", o.Workload.Executable)
	doc["unmapped"] = unmapped
	return doc
}

func ocsfTLS(t *event.TLS) object {
	out := object{"version": t.Version}
	out.set("sni", t.SNI)
	if c := t.PeerCertificate; c != nil && c.Issuer != "" && c.Serial != "" {
		cert := object{"issuer": clip(c.Issuer), "serial_number": clip(c.Serial)}
		cert.set("created_time", millis(c.NotBefore))
		cert.set("expiration_time", millis(c.NotAfter))
		if c.SHA256 != "" {
			cert["fingerprints"] = []object{{"algorithm_id": 3, "algorithm": "SHA-256", "value": c.SHA256}}
		}
		out["certificate"] = cert
	}
	return out
}

// whole keeps a count within what formats take, 64 bits with a sign.
func whole(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
